package suite

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// A target that answers early and closes with the rest of the request unread:
// its kernel sends a reset right behind the answer. What was said before the
// reset arrives, as it does without a tunnel; HTTP's early refusals and TLS's
// alerts depend on it.
func LastWords(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	for _, c := range []struct {
		name            string
		request, answer int64
	}{
		{"short request", 5000, 200},
		{"upload under way", 8 * harness.Mebibyte, 200},
		{"long answer", 5000, 50_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
				_, _ = conn.Read(make([]byte, 1))
				_, _ = io.Copy(conn, harness.NewPayload(61, c.answer))
			})
			for repetition := range 20 {
				if err := lastWords(tunnel, target.Address, c.request, c.answer); err != nil {
					t.Fatalf("dial %d: %v", repetition, err)
				}
			}
		})
	}
}

// lastWords sends a request that nobody reads and expects the whole answer,
// then the connection's end, whatever kind of end.
func lastWords(tunnel *harness.Tunnel, address string, request, answer int64) error {
	conn, err := tunnel.DialWithin(5*time.Second, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var directions errgroup.Group
	directions.Go(func() error {
		// The connection may break under it: that is the point.
		_, _ = io.Copy(conn, harness.NewPayload(62, request))
		return nil
	})
	directions.Go(func() error {
		if err := harness.CheckPayload(conn, 61, answer); err != nil {
			return err
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			return fmt.Errorf("expected the end, got %d bytes, %v", n, err)
		}
		return nil
	})
	return directions.Wait()
}

package suite

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// Exchange dials an echo target, has a payload returned, and closes.
func Exchange(tunnel *harness.Tunnel, limit time.Duration, address string, seed uint64, size int64) error {
	conn, err := tunnel.DialWithin(limit, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var directions errgroup.Group
	directions.Go(func() error {
		_, err := io.Copy(conn, harness.NewPayload(seed, size))
		return err
	})
	directions.Go(func() error { return harness.CheckPayload(conn, seed, size) })
	return directions.Wait()
}

// 500 dials at once; each connection gets its own bytes back.
func ManyDialsAtOnce(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 2)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	const dials = 500
	start := make(chan struct{})
	var group errgroup.Group
	for dial := range uint64(dials) {
		group.Go(func() error {
			<-start
			return Exchange(tunnel, 20*time.Second, echo.Address, dial, 4096)
		})
	}
	close(start)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if n := echo.Accepted.Load(); n != dials {
		t.Errorf("%d dials reached the target %d times", dials, n)
	}
}

// What the dialer of kube-apiserver reports is the status line: code and
// reason must both be there.
func DialErrors(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	refusing := harness.RefusingAddress(t)
	cases := []struct {
		name, address, code string
		reason              string
	}{
		{"refused", refusing, "code 502: 502 ", "connection refused"},
		{"refused by name", strings.Replace(refusing, "127.0.0.1", "localhost", 1), "code 502: 502 ", "connection refused"},
		{"unknown host", "no-such-host.invalid:10250", "code 502: 502 ", "no such host"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			started := time.Now()
			conn, err := tunnel.DialWithin(10*time.Second, c.address)
			if err == nil {
				conn.Close()
				t.Fatal("the dial succeeded")
			}
			requireText(t, err, c.code, c.reason)
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("the answer took %v", took)
			}
		})
	}
}

// SYNs that vanish: the agent gives a dial 5 s, and it holds up nobody else.
func BlackHole(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	blackHole := harness.BlackHole(t)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	var dials errgroup.Group
	for range 20 {
		dials.Go(func() error {
			started := time.Now()
			conn, err := tunnel.DialWithin(10*time.Second, blackHole)
			if err == nil {
				conn.Close()
				return errors.New("a dial into a black hole succeeded")
			}
			if took := time.Since(started); took < 4*time.Second || took > 6500*time.Millisecond {
				return fmt.Errorf("the answer came after %v, expected 5 to 6 s: %w", took, err)
			}
			return lacks(err, "code 504: 504 ", "i/o timeout")
		})
	}
	for dial := range uint64(50) {
		if err := Exchange(tunnel, 2*time.Second, echo.Address, dial, 1000); err != nil {
			t.Errorf("beside dials into a black hole: %v", err)
			break
		}
	}
	if err := dials.Wait(); err != nil {
		t.Error(err)
	}
}

// Without an agent the answer is immediate and says so.
func NoAgent(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 0)
	if err := tunnel.ServerReady(); err == nil {
		t.Error("the server calls itself ready without an agent")
	}
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for range 20 {
		conn, err := tunnel.DialWithin(5*time.Second, echo.Address)
		if err == nil {
			conn.Close()
			t.Fatal("a dial without an agent succeeded")
		}
		requireText(t, err, "code 500: 500 ", "No agent available")
	}
	if n := echo.Accepted.Load(); n != 0 {
		t.Errorf("the target was reached %d times without an agent", n)
	}
}

// A client that goes away while its dial is pending leaves nothing stuck.
func ClientGivesUp(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	blackHole := harness.BlackHole(t)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for range 50 {
		conn, err := tunnel.Frontend.Connect()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", blackHole)
		conn.Close()
	}
	for dial := range uint64(50) {
		if err := Exchange(tunnel, 2*time.Second, echo.Address, dial, 1000); err != nil {
			t.Fatal(err)
		}
	}
}

// requireText fails the test for each text that an error does not contain.
func requireText(t *testing.T, err error, texts ...string) {
	t.Helper()
	if missing := lacks(err, texts...); missing != nil {
		t.Error(missing)
	}
}

// lacks returns an error that names the text missing in err, if one is.
func lacks(err error, texts ...string) error {
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			return fmt.Errorf("the error lacks %q: %v", text, err)
		}
	}
	return nil
}

package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// In GRPC mode the dialer reports the agent's text and nothing else.
func grpcDialErrors(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	refusing := harness.RefusingAddress(t)
	_, port, _ := net.SplitHostPort(refusing)
	for _, c := range []struct{ name, address, says string }{
		{"refused", refusing, "dial tcp " + refusing + ": connect: connection refused"},
		{"refused by name", "localhost:" + port, "connect: connection refused"},
		{"unknown host", "no-such-host.invalid:10250", "no such host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			started := time.Now()
			conn, err := tunnel.DialWithin(10*time.Second, c.address)
			if err == nil {
				conn.Close()
				t.Fatal("the dial succeeded")
			}
			requireText(t, err, c.says)
			if took := time.Since(started); took > 3*time.Second {
				t.Errorf("the answer took %v", took)
			}
		})
	}
}

// Without an agent the answer is immediate and says so.
func grpcNoAgent(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 0)
	for range 20 {
		conn, err := tunnel.DialWithin(5*time.Second, "127.0.0.1:1")
		if err == nil {
			conn.Close()
			t.Fatal("a dial without an agent succeeded")
		}
		requireText(t, err, "No agent available")
	}
}

// A request that is over before its dial does not dial.
func grpcDoneContext(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	conn, err := tunnel.Dial(ctx, "tcp", echo.Address)
	if err == nil {
		conn.Close()
		t.Fatal("a dial after its deadline succeeded")
	}
	requireText(t, err, "context")
	if n := echo.Accepted.Load(); n != 0 {
		t.Errorf("the target was reached %d times", n)
	}
}

// Dials that are given up, one alone and 50 together, while the agent still
// tries and just when it succeeds: no connection to a target is left.
func grpcCancelledDials(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	blackHole := harness.BlackHole(t)
	var open atomic.Int64
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		open.Add(1)
		defer open.Add(-1)
		harness.Echo(conn)
	})
	for _, c := range []struct {
		name, address string
		dials         int
		patience      time.Duration
	}{
		{"one, pending", blackHole, 1, 100 * time.Millisecond},
		{"many, pending", blackHole, 50, 100 * time.Millisecond},
		{"many, succeeding", target.Address, 50, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var dials errgroup.Group
			for dial := range c.dials {
				patience := c.patience
				if patience == 0 {
					patience = time.Duration(dial) * 500 * time.Microsecond
				}
				dials.Go(func() error { return giveUp(tunnel, c.address, patience) })
			}
			if err := dials.Wait(); err != nil {
				t.Error(err)
			}
			harness.MustWithin(t, 10*time.Second, "the end of the connections at the target", func() error {
				if n := open.Load(); n != 0 {
					return fmt.Errorf("%d are open", n)
				}
				return nil
			})
			if err := Exchange(tunnel, 2*time.Second, target.Address, 1, 1000); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// giveUp dials with little patience; what comes in time is closed.
func giveUp(tunnel *harness.Tunnel, address string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started := time.Now()
	conn, err := tunnel.Dial(ctx, "tcp", address)
	if err == nil {
		// One that the dialer itself has ended by now is no error.
		_ = conn.Close()
		return nil
	}
	if took := time.Since(started); took > patience+2*time.Second {
		return fmt.Errorf("a dial with a patience of %v took %v: %w", patience, took, err)
	}
	if text := err.Error(); !strings.Contains(text, "context") && !strings.Contains(text, "closed") {
		return fmt.Errorf("expected a dial that was given up, got: %w", err)
	}
	return nil
}

// GRPCBlackHole is BlackHole in GRPC mode.
func GRPCBlackHole(t *testing.T) {
	tunnel := harness.StartOver(t, harness.GRPC, 1)
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
			return lacks(err, "i/o timeout")
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

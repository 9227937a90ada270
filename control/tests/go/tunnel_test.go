package counterparts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"

	"adit.test/counterparts/harness"
)

// connections counts what konnectivity-client opens to a frontend.
type connections struct {
	udsName string
	opened  atomic.Int64
}

// options are those of kube-apiserver's dialer.
func (c *connections) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c.opened.Add(1)
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", c.udsName)
		}),
	}
}

// reusable opens the tunnel that newer kube-apiservers keep for all dials; its
// address is what their gRPC makes an authority of.
func reusable(t *testing.T, tunnel *harness.Tunnel) (client.ReusableTunnel, *connections) {
	t.Helper()
	counted := &connections{udsName: tunnel.Frontend.UDSName}
	shared, err := client.CreateGRPCTunnel(t.Context(), counted.udsName, counted.options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() })
	return shared, counted
}

// echoed has a payload returned over a tunnel of konnectivity-client.
func echoed(tunnel client.Tunnel, limit time.Duration, address string, seed uint64, size int64) error {
	return within(limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		conn, err := tunnel.DialContext(ctx, "tcp", address)
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
	})
}

// within runs what has no deadline of its own.
func within(limit time.Duration, what func() error) error {
	result := make(chan error, 1)
	go func() { result <- what() }()
	select {
	case err := <-result:
		return err
	case <-time.After(limit):
		return fmt.Errorf("not done within %v", limit)
	}
}

// Many dials, one after another and together, on one connection; each stream is
// a connection of its own, and a dial that fails is that dial's matter.
func TestReusableTunnel(t *testing.T) {
	tunnel := harness.StartOver(t, harness.GRPC, 1)
	shared, counted := reusable(t, tunnel)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	refusing := harness.RefusingAddress(t)
	for round := range uint64(3) {
		var crowd errgroup.Group
		for dial := range uint64(100) {
			crowd.Go(func() error { return echoed(shared, 20*time.Second, echo.Address, round*100+dial, 20_000) })
		}
		for range 10 {
			crowd.Go(func() error {
				_, err := shared.DialContext(t.Context(), "tcp", refusing)
				if failed, reason := client.GetDialFailureReason(err); !failed || string(reason) != "endpoint" {
					return fmt.Errorf("expected the endpoint's failure, got %q: %w", reason, err)
				}
				return nil
			})
		}
		if err := crowd.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if n := counted.opened.Load(); n != 1 {
		t.Errorf("330 dials used %d connections", n)
	}
}

// A reader that stops holds up nobody on its connection.
func TestReusableTunnelIsolation(t *testing.T) {
	t.Parallel()
	tunnel := harness.StartOver(t, harness.GRPC, 1)
	shared, counted := reusable(t, tunnel)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(41, 1<<40))
	})
	for range 8 {
		conn, err := shared.DialContext(t.Context(), "tcp", target.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(".")); err != nil {
			t.Fatal(err)
		}
		// The client reads ahead by ten packets; what follows fills the windows.
		if err := harness.CheckPayload(conn, 41, 1000); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for dial := range uint64(30) {
		if err := echoed(shared, 2*time.Second, echo.Address, dial, 300_000); err != nil {
			t.Fatalf("dial %d beside stopped readers: %v", dial, err)
		}
	}
	if n := counted.opened.Load(); n != 1 {
		t.Errorf("the dials used %d connections", n)
	}
}

// Close ends what runs, and returns when all of it has ended.
func TestReusableTunnelCloses(t *testing.T) {
	tunnel := harness.StartOver(t, harness.GRPC, 1)
	shared, _ := reusable(t, tunnel)
	var open atomic.Int64
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		open.Add(1)
		defer open.Add(-1)
		harness.Echo(conn)
	})
	conns := make([]net.Conn, 20)
	for i := range conns {
		var err error
		if conns[i], err = shared.DialContext(t.Context(), "tcp", target.Address); err != nil {
			t.Fatal(err)
		}
	}
	if err := within(5*time.Second, shared.Close); err != nil {
		t.Fatal(err)
	}
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("expected the end, got: %v", err)
		}
	}
	harness.MustWithin(t, 5*time.Second, "the end at the target", func() error {
		if n := open.Load(); n != 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	if _, err := shared.DialContext(t.Context(), "tcp", target.Address); err == nil {
		t.Error("a dial on a closed tunnel succeeded")
	}
}

// The streams of one connection cut off together, again and again: dials on the
// same connection go on.
func TestReusableTunnelCutOff(t *testing.T) {
	t.Parallel()
	tunnel := harness.StartOver(t, harness.GRPC, 1)
	shared, counted := reusable(t, tunnel)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(42, 1<<40))
	})
	// Closes take up to ten seconds, see suite.GRPCCutOff.
	var ends sync.WaitGroup
	defer ends.Wait()
	for round := range uint64(5) {
		var begins errgroup.Group
		conns := make([]net.Conn, 64)
		for i := range conns {
			begins.Go(func() (err error) {
				if conns[i], err = shared.DialContext(t.Context(), "tcp", target.Address); err != nil {
					return err
				}
				if _, err := conns[i].Write([]byte(".")); err != nil {
					return err
				}
				return harness.CheckPayload(conns[i], 42, 20_000)
			})
		}
		if err := begins.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for _, conn := range conns {
			ends.Go(func() { _ = conn.Close() })
		}
		if err := echoed(shared, 5*time.Second, echo.Address, round, 10_000); err != nil {
			t.Fatalf("round %d, while downloads are cut off: %v", round, err)
		}
	}
	if n := counted.opened.Load(); n != 1 {
		t.Errorf("the dials used %d connections", n)
	}
}

// The tunnel for a single use, whose context ends amid a download: the target
// hears of it, and dials go on.
func TestSingleUseTunnelCutOff(t *testing.T) {
	t.Parallel()
	tunnel := harness.StartOver(t, harness.GRPC, 1)
	ended := make(chan struct{}, 1024)
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(43, 1<<40))
		ended <- struct{}{}
	})
	counted := &connections{udsName: tunnel.Frontend.UDSName}
	for round := range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		var crowd errgroup.Group
		for range 32 {
			crowd.Go(func() error {
				single, err := client.CreateSingleUseGrpcTunnelWithContext(t.Context(), ctx, counted.udsName, counted.options()...)
				if err != nil {
					return err
				}
				conn, err := single.DialContext(t.Context(), "tcp", target.Address)
				if err != nil {
					return err
				}
				if _, err := conn.Write([]byte(".")); err != nil {
					return err
				}
				return harness.CheckPayload(conn, 43, 20_000)
			})
		}
		err := crowd.Wait()
		cancel()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		limit := time.After(5 * time.Second)
		for i := range 32 {
			select {
			case <-ended:
			case <-limit:
				t.Fatalf("round %d: %d of 32 downloads still run at the target", round, 32-i)
			}
		}
	}
}

package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// A request whose deadline passes amid its answer closes its tunnel: the target
// hears of it, and no goroutine of the client stays.
func grpcRequestDeadline(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	base, _ := countingServer(t, "127.0.0.1:0")
	before := runtime.NumGoroutine()
	for range 10 {
		transport := &http.Transport{DialContext: tunnel.Dial}
		client := &http.Client{Transport: transport, Timeout: 300 * time.Millisecond}
		err := harness.Fetch(client, base, 1, 1<<40)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("expected a deadline, got: %v", err)
		}
		transport.CloseIdleConnections()
	}
	harness.MustWithin(t, 10*time.Second, "the end of the client's goroutines", func() error {
		if now := runtime.NumGoroutine(); now > before {
			return fmt.Errorf("%d, %d before", now, before)
		}
		return nil
	})
}

// Ten clients, each with ten bodies of 1 MiB.
func grpcConcurrentDownloads(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 2)
	base, _ := countingServer(t, "127.0.0.1:0")
	var clients errgroup.Group
	for number := range uint64(10) {
		client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
		clients.Go(func() error {
			for body := range uint64(10) {
				if err := harness.Fetch(client, base, 10*number+body, harness.Mebibyte); err != nil {
					return fmt.Errorf("client %d, body %d: %w", number, body, err)
				}
			}
			return nil
		})
	}
	if err := clients.Wait(); err != nil {
		t.Error(err)
	}
}

// A hundred requests at once through two agents, each of which gets its own body
// back.
func grpcConcurrentPosts(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 2)
	base, _ := countingServer(t, "127.0.0.1:0")
	var posts errgroup.Group
	for number := range 100 {
		client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
		posts.Go(func() error {
			body := bytes.Repeat(fmt.Appendf(nil, "request %03d\n", number), 500)
			response, err := client.Post(base+"/", "text/plain", bytes.NewReader(body))
			if err != nil {
				return err
			}
			defer response.Body.Close()
			back, err := io.ReadAll(response.Body)
			if err == nil && !bytes.Equal(back, body) {
				err = fmt.Errorf("request %d: %d bytes came back, %d were sent", number, len(back), len(body))
			}
			return err
		})
	}
	if err := posts.Wait(); err != nil {
		t.Error(err)
	}
}

// The only agent is lost: a kept connection fails long before any request's
// time limit, and after the agent's return all is well.
func grpcAgentLost(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	base, _ := countingServer(t, "127.0.0.1:0")
	transport := tunnel.Transport(t, nil)
	client := &http.Client{Transport: transport, Timeout: harness.RequestLimit}
	if err := harness.Fetch(client, base, 1, 1000); err != nil {
		t.Fatal(err)
	}
	tunnel.KillAgent(t, 0)
	lost := time.Now()
	if err := harness.Fetch(client, base, 2, 1000); err == nil {
		t.Error("a request without an agent succeeded")
	}
	// Five seconds for the kept connection, and as many for the dial with which
	// net/http tries again, where that goes through another shard.
	if took := time.Since(lost); took > 12*time.Second {
		t.Errorf("a request failed %v after its agent was lost", took)
	}
	tunnel.StartAgent(t, 0)
	if err := harness.Fetch(client, base, 3, 1000); err != nil {
		t.Errorf("after the agent's return: %v", err)
	}
}

// The server goes away and returns on the same socket; its agent finds it.
func grpcServerRestarted(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	busy, err := tunnel.DialWithin(5*time.Second, echo.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	tunnel.StopServer(t, syscall.SIGKILL)
	if _, err := busy.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived its server")
	}
	tunnel.StartServer(t)
	harness.MustWithin(t, 6*time.Second, "a dial after the restart", func() error {
		return Exchange(tunnel, 2*time.Second, echo.Address, 1, 1000)
	})
}

// cutOffDial is what a dial may take right after a crowd was cut off, also where
// the crowd itself needs the CPUs.
const cutOffDial = 5 * time.Second

// cutOffAfter is how many bytes of each download arrive before.
const cutOffAfter = 20_000

// GRPCCutOff cuts off crowds of downloads amid their bytes, all together, and
// again. Konnectivity's server hangs for good; here dials go on, and the
// targets hear of every end.
//
// konnectivity-client's own Close takes up to ten seconds where bytes are on
// their way that nobody reads any more. That is waited for once, at the end:
// for tests that are parallel to others.
func GRPCCutOff(t *testing.T, rounds int, crowds ...int) {
	tunnel := harness.StartOver(t, harness.GRPC, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	var running atomic.Int64
	target := asked(t, 31, 1<<40, func() { running.Add(-1) })
	var closes sync.WaitGroup
	defer closes.Wait()
	for _, crowd := range crowds {
		for round := range rounds {
			where := fmt.Sprintf("crowd of %d, round %d", crowd, round)
			conns := make([]net.Conn, crowd)
			var begins errgroup.Group
			for i := range conns {
				begins.Go(func() (err error) {
					if conns[i], err = download(tunnel, target.Address); err != nil {
						return err
					}
					running.Add(1)
					return harness.CheckPayload(conns[i], 31, cutOffAfter)
				})
			}
			if err := begins.Wait(); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			for _, conn := range conns {
				closes.Go(func() { _ = conn.Close() })
			}
			if err := Exchange(tunnel, cutOffDial, echo.Address, 32, 10_000); err != nil {
				t.Fatalf("%s, while downloads are cut off: %v", where, err)
			}
			harness.MustWithin(t, 5*time.Second, "the end of the downloads at the target", func() error {
				if left := running.Load(); left != 0 {
					return fmt.Errorf("%s: %d run", where, left)
				}
				return nil
			})
			if err := Exchange(tunnel, cutOffDial, echo.Address, 33, 10_000); err != nil {
				t.Fatalf("%s, afterwards: %v", where, err)
			}
		}
	}
}

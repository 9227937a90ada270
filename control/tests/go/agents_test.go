package counterparts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

const (
	// dialAfterLoss is what a dial may take while one of two agents is lost.
	dialAfterLoss = 2 * time.Second
	// lossNoticed is what a connection in use may take to fail with its agent:
	// 5 s without an answer, and the time it takes to become suspicious.
	lossNoticed = 8 * time.Second
	// backAfterRestart is what agents may take to return to a restarted server.
	backAfterRestart = 6 * time.Second
)

// persistents is a target for numbered, long-lived connections: it notes which
// of them have ended.
type persistents struct {
	mutex sync.Mutex
	ended []uint64
}

// serve reads the connection's number and then echoes.
func (p *persistents) serve(conn *net.TCPConn) {
	number := make([]byte, 8)
	if _, err := io.ReadFull(conn, number); err != nil {
		return
	}
	_, _ = conn.Write(number)
	harness.Echo(conn)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.ended = append(p.ended, binary.BigEndian.Uint64(number))
}

func (p *persistents) list() []uint64 {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	slices.Sort(p.ended)
	return slices.Clone(p.ended)
}

// open makes numbered connections and proves each of them.
func (p *persistents) open(t *testing.T, tunnel *harness.Tunnel, count uint64) []harness.Conn {
	t.Helper()
	target := harness.Listen(t, "127.0.0.1", p.serve)
	conns := make([]harness.Conn, count)
	for number := range count {
		conns[number] = tunnel.MustDial(t, target.Address)
		if err := ping(conns[number], number); err != nil {
			t.Fatal(err)
		}
	}
	return conns
}

// ping sends a number and expects it back.
func ping(conn net.Conn, number uint64) error {
	if err := binary.Write(conn, binary.BigEndian, number); err != nil {
		return err
	}
	var answer uint64
	if err := binary.Read(conn, binary.BigEndian, &answer); err != nil {
		return err
	}
	if answer != number {
		return fmt.Errorf("sent %d, received %d", number, answer)
	}
	return nil
}

// One of two agents is killed. Each dial from then on succeeds in time; the
// connections that went through the lost agent fail, the others live on.
func TestAgentKilled(t *testing.T) {
	tunnel := harness.Start(t, 2)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	var target persistents
	conns := target.open(t, tunnel, 40)

	tunnel.KillAgent(t, 0)
	killed := time.Now()
	var dials errgroup.Group
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	failed := make([]bool, len(conns))
	var used errgroup.Group
	for number, conn := range conns {
		used.Go(func() error {
			_ = conn.SetDeadline(killed.Add(lossNoticed))
			err := ping(conn, uint64(number))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("connection %d neither works nor fails %v after its agent was killed", number, lossNoticed)
			}
			failed[number] = err != nil
			return nil
		})
	}
	for seed := uint64(0); time.Since(killed) < 3*time.Second; seed++ {
		dials.Go(func() error {
			started := time.Now()
			if err := suite.Exchange(tunnel, dialAfterLoss, echo.Address, seed, 1000); err != nil {
				return fmt.Errorf("dial begun %v after the kill: %w", started.Sub(killed).Round(time.Millisecond), err)
			}
			return nil
		})
		<-tick.C
	}
	if err := dials.Wait(); err != nil {
		t.Error(err)
	}
	if err := used.Wait(); err != nil {
		t.Error(err)
	}
	// A killed process's sockets are closed by the kernel: the target knows
	// exactly which connections were the lost agent's.
	var lost []uint64
	for number := range failed {
		if failed[number] {
			lost = append(lost, uint64(number))
		}
	}
	if ended := target.list(); !slices.Equal(ended, lost) {
		t.Errorf("connections %v ended at the target, connections %v failed at the client", ended, lost)
	}
	if len(lost) == 0 || len(lost) == len(conns) {
		t.Errorf("%d of %d connections were the killed agent's: dials are not spread over both", len(lost), len(conns))
	}
}

// The only agent is killed and comes back under its name before its loss could
// time out: the newest instance gets the dials.
func TestAgentRestarted(t *testing.T) {
	tunnel := harness.Start(t, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for restart := range uint64(3) {
		if err := suite.Exchange(tunnel, 5*time.Second, echo.Address, restart, 1000); err != nil {
			t.Fatal(err)
		}
		tunnel.KillAgent(t, 0)
		tunnel.StartAgent(t, 0)
		for dial := range uint64(20) {
			if err := suite.Exchange(tunnel, dialAfterLoss, echo.Address, dial, 1000); err != nil {
				t.Fatalf("dial %d after restart %d: %v", dial, restart, err)
			}
		}
	}
}

// The server goes away and returns on the same ports; its agents find it.
func TestServerRestarted(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		busy   uint64
	}{{"idle, by SIGTERM", syscall.SIGTERM, 0}, {"busy, by SIGKILL", syscall.SIGKILL, 10}} {
		t.Run(c.name, func(t *testing.T) {
			tunnel := harness.Start(t, 2)
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			var target persistents
			conns := target.open(t, tunnel, c.busy)
			tunnel.StopServer(t, c.signal)
			for number, conn := range conns {
				if err := ping(conn, uint64(number)); err == nil {
					t.Errorf("connection %d outlived its server", number)
				}
			}
			tunnel.StartServer(t)
			started := time.Now()
			harness.MustWithin(t, backAfterRestart, "a dial after the restart", func() error {
				return suite.Exchange(tunnel, dialAfterLoss, echo.Address, 1, 1000)
			})
			for agent := range 2 {
				harness.MustWithin(t, backAfterRestart-time.Since(started), fmt.Sprintf("agent %d's /readyz", agent), func() error {
					return tunnel.AgentReady(agent)
				})
			}
			harness.MustWithin(t, backAfterRestart, "the end of the old connections at the target", func() error {
				if ended := target.list(); len(ended) != len(conns) {
					return fmt.Errorf("%d of %d have ended", len(ended), len(conns))
				}
				return nil
			})
		})
	}
}

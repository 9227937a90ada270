package counterparts

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/agentdouble"
	"adit.test/counterparts/harness/serverdouble"
	"adit.test/counterparts/harness/suite"
)

// Three old servers behind one address: adit's agent connects to all of them,
// loses one, finds another, and counts two of one name as one.
func TestOldServersBehindBalancer(t *testing.T) {
	balancer := harness.NewBalancer(t)
	servers := map[string]*serverdouble.Server{}
	add := func(id string) {
		servers[id] = oldServer(t, id, 3)
		balancer.Add(servers[id].Address)
	}
	for _, id := range []string{"a", "b", "c"} {
		add(id)
	}
	harness.StartAgent(t, "new", balancer.Address, overTCP, "--sync-interval=100ms", "--sync-interval-cap=1s")
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	connected := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			harness.MustWithin(t, 15*time.Second, "a dial at server "+id, func() error {
				return through(servers[id], time.Second, echo.Address, 1, 1000)
			})
			if names := servers[id].Agents(); len(names) != 1 {
				t.Errorf("server %s has the agents %q", id, names)
			}
		}
	}
	connected("a", "b", "c")
	balancer.Remove(servers["b"].Address)
	servers["b"].Stop()
	connected("a", "c")
	add("d")
	connected("a", "c", "d")
}

// Servers that do not know of each other: with --sync-forever each is found all
// the same, without it their count is believed.
func TestOldServersUncounted(t *testing.T) {
	for _, c := range []struct {
		flags []string
		found int
	}{{[]string{"--sync-forever"}, 3}, {nil, 1}} {
		t.Run(fmt.Sprint(c.flags), func(t *testing.T) {
			balancer := harness.NewBalancer(t)
			servers := []*serverdouble.Server{oldServer(t, "a", 1), oldServer(t, "b", 1), oldServer(t, "c", 1)}
			for _, server := range servers {
				balancer.Add(server.Address)
			}
			flags := append([]string{overTCP, "--sync-interval=100ms", "--sync-interval-cap=1s"}, c.flags...)
			agent := harness.StartAgent(t, "new", balancer.Address, flags...)
			found := func() (n int) {
				for _, server := range servers {
					n += len(server.Agents())
				}
				return n
			}
			harness.MustWithin(t, 15*time.Second, "the servers", func() error {
				if n := found(); n != c.found {
					return fmt.Errorf("the agent has found %d", n)
				}
				return agent.Ready()
			})
		})
	}
}

// Two old servers of one name: the agent keeps one connection, and keeps it.
func TestDuplicateOldServer(t *testing.T) {
	balancer := harness.NewBalancer(t)
	servers := []*serverdouble.Server{oldServer(t, "same", 2), oldServer(t, "same", 2)}
	for _, server := range servers {
		balancer.Add(server.Address)
	}
	agent := harness.StartAgent(t, "new", balancer.Address, overTCP, "--sync-interval=100ms", "--sync-interval-cap=1s")
	harness.MustWithin(t, 10*time.Second, "the agent's /readyz", agent.Ready)
	harness.MustWithin(t, 10*time.Second, "the end of three further attempts", func() error {
		if n := len(servers[0].Endings()) + len(servers[1].Endings()); n < 3 {
			return fmt.Errorf("%d have ended", n)
		}
		return nil
	})
	var kept *serverdouble.Server
	for _, server := range servers {
		if len(server.Agents()) > 0 && server.Established() == 0 {
			kept = server
		}
	}
	if kept == nil {
		t.Fatal("the agent is at neither server")
	}
	if err := agent.Ready(); err != nil {
		t.Error(err)
	}
}

// Three of adit's servers behind a TCP load balancer, as every published recipe
// has it, for adit's agent over TCP and for an old one.
func TestBasicHA(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(t *testing.T, address string)
	}{
		{"adit's agent", func(t *testing.T, address string) {
			harness.StartAgent(t, "agent", address, overTCP, "--sync-interval=100ms", "--sync-interval-cap=1s")
		}},
		{"an old agent", func(t *testing.T, address string) {
			agent := agentdouble.Start(agentdouble.Options{Address: address, TLS: harness.AgentTLS(t), ID: "agent"})
			t.Cleanup(agent.Stop)
		}},
	} {
		t.Run(c.name, func(t *testing.T) { basicHA(t, c.start) })
	}
}

func basicHA(t *testing.T, startAgent func(*testing.T, string)) {
	balancer := harness.NewBalancer(t)
	servers := map[string]*harness.Tunnel{}
	add := func(id string) {
		servers[id] = harness.StartWith(t, harness.Options{
			Via: harness.GRPC, ServerFlags: []string{"--server-id", id, "--server-count", "3"},
		})
		balancer.Add(servers[id].AgentAddress)
	}
	for _, id := range []string{"a", "b", "c"} {
		add(id)
	}
	startAgent(t, balancer.Address)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	connected := func(ids ...string) {
		t.Helper()
		for _, id := range ids {
			servers[id].WaitReady(t, 15*time.Second)
			if err := suite.Exchange(servers[id], 2*time.Second, echo.Address, 1, 100_000); err != nil {
				t.Errorf("through server %s: %v", id, err)
			}
		}
	}
	connected("a", "b", "c")
	balancer.Remove(servers["b"].AgentAddress)
	servers["b"].StopServer(t, syscall.SIGKILL)
	connected("a", "c")
	add("d")
	connected("a", "c", "d")
}

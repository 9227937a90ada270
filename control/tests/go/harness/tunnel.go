package harness

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// startLimit bounds a program's way from its start to being ready.
const startLimit = 15 * time.Second

// Tunnel is a running server with its agents, and the dialer that leads
// through them. It belongs to one test and ends with it.
type Tunnel struct {
	// Dial is kube-apiserver's dialer for `cluster` traffic.
	Dial utilnet.DialFunc
	// Frontend is where the server's frontend listens.
	Frontend Frontend
	// AgentAddress is where agents connect to the server.
	AgentAddress string

	backing backing
}

// backing is what a tunnel is made of: adit's programs, or the tests' double.
type backing interface {
	startServer(t testing.TB)
	stopServer(t testing.TB, signal syscall.Signal)
	startAgent(t testing.TB, index int)
	killAgent(t testing.TB, index int)
	serverReady() error
	agentReady(index int) error
}

// Options say what a tunnel is made of.
type Options struct {
	// Via is how the server is dialed.
	Via Transport
	// Agents is how many of adit's agents there are.
	Agents int
	// ServerFlags and AgentFlags come behind the harness's own; the last one of
	// a name counts.
	ServerFlags, AgentFlags []string
}

// Start is StartOver a Unix socket.
func Start(t testing.TB, agents int) *Tunnel { t.Helper(); return StartOver(t, UDS, agents) }

// StartOver is StartWith no flags of the test's own.
func StartOver(t testing.TB, via Transport, agents int) *Tunnel {
	t.Helper()
	return StartWith(t, Options{Via: via, Agents: agents})
}

// StartWith brings up a server with its agents, and returns when all of them
// call themselves ready. With no agent it returns when the server listens.
func StartWith(t testing.TB, options Options) *Tunnel {
	t.Helper()
	// Not t.TempDir: its long names do not fit into a socket address.
	dir, err := os.MkdirTemp("", "adit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tunnel := &Tunnel{Frontend: NewFrontend(t, dir, options.Via)}
	tunnel.Dial = clusterDialer(t, dir, tunnel.Frontend)
	if fault := os.Getenv("ADIT_DOUBLE"); fault != "" {
		tunnel.backing = newDouble(t, tunnel.Frontend, fault)
	} else {
		programs := newPrograms(t, dir, tunnel.Frontend, options)
		tunnel.backing = programs
		tunnel.AgentAddress = fmt.Sprintf("127.0.0.1:%d", programs.agentPort)
	}
	tunnel.StartServer(t)
	for index := range options.Agents {
		tunnel.StartAgent(t, index)
	}
	if options.Agents > 0 {
		tunnel.WaitReady(t, startLimit)
	}
	return tunnel
}

// StartServer starts the server (again), on the ports it had before.
func (tunnel *Tunnel) StartServer(t testing.TB) { t.Helper(); tunnel.backing.startServer(t) }

// StopServer ends the server by a signal. SIGTERM must end it with success.
func (tunnel *Tunnel) StopServer(t testing.TB, signal syscall.Signal) {
	t.Helper()
	tunnel.backing.stopServer(t, signal)
}

// StartAgent starts agent number index (again) and waits until it is ready.
func (tunnel *Tunnel) StartAgent(t testing.TB, index int) {
	t.Helper()
	tunnel.backing.startAgent(t, index)
}

// KillAgent ends an agent by SIGKILL and returns when the process is gone.
func (tunnel *Tunnel) KillAgent(t testing.TB, index int) {
	t.Helper()
	tunnel.backing.killAgent(t, index)
}

// ServerReady asks the server's /readyz: nil stands for a 200.
func (tunnel *Tunnel) ServerReady() error { return tunnel.backing.serverReady() }

// AgentReady asks an agent's /readyz: nil stands for a 200.
func (tunnel *Tunnel) AgentReady(index int) error { return tunnel.backing.agentReady(index) }

// WaitReady waits until the server has an agent to dial through.
func (tunnel *Tunnel) WaitReady(t testing.TB, limit time.Duration) {
	t.Helper()
	MustWithin(t, limit, "the server's /readyz", tunnel.backing.serverReady)
}

package harness

import (
	"fmt"
	"os"
	"path/filepath"
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

// Start is StartOver a Unix socket.
func Start(t testing.TB, agents int) *Tunnel { t.Helper(); return StartOver(t, UDS, agents) }

// StartOver brings up a server with so many agents, to be dialed over the given
// transport, and returns when all of them call themselves ready. With no agent
// it returns when the server listens.
func StartOver(t testing.TB, via Transport, agents int) *Tunnel {
	t.Helper()
	// Not t.TempDir: its long names do not fit into a socket address.
	dir, err := os.MkdirTemp("", "adit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tunnel := &Tunnel{Frontend: NewFrontend(t, dir, via)}
	tunnel.Dial = clusterDialer(t, dir, tunnel.Frontend)
	if fault := os.Getenv("ADIT_DOUBLE"); fault != "" {
		tunnel.backing = &Double{udsName: tunnel.Frontend.UDSName, fault: fault}
	} else {
		tunnel.backing = newPrograms(t, dir, tunnel.Frontend)
	}
	tunnel.StartServer(t)
	for index := range agents {
		tunnel.StartAgent(t, index)
	}
	if agents > 0 {
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

// programs is the backing that starts adit.
type programs struct {
	dir      string
	frontend Frontend

	server                           *Process
	agentPort, healthPort, adminPort int
	agents                           map[int]*Process
	agentHealthPorts                 map[int]int
}

func newPrograms(t testing.TB, dir string, frontend Frontend) *programs {
	return &programs{
		dir: dir, frontend: frontend,
		agentPort: FreePort(t), healthPort: FreePort(t), adminPort: FreePort(t),
		agents: map[int]*Process{}, agentHealthPorts: map[int]int{},
	}
}

func (p *programs) startServer(t testing.TB) {
	t.Helper()
	p.server = StartProcess(t, p.dir, "server", Program(), append([]string{"server",
		"--cluster-cert", Cert("server.crt"), "--cluster-key", Cert("server.key"),
		"--cluster-ca-cert", Cert("ca.crt"),
		"--agent-bind-address", "127.0.0.1", "--agent-port", fmt.Sprint(p.agentPort),
		"--health-bind-address", "127.0.0.1", "--health-port", fmt.Sprint(p.healthPort),
		"--admin-bind-address", "127.0.0.1", "--admin-port", fmt.Sprint(p.adminPort),
		"--server-id", "counterparts", "--io", Driver()}, p.frontend.Flags()...)...)
	server := p.server
	MustWithin(t, startLimit, "the server's /healthz", func() error {
		return server.Get(p.healthPort, "/healthz")
	})
	// Liveness says nothing about the frontend, and readiness needs an agent.
	MustWithin(t, startLimit, "the frontend's socket", func() error {
		conn, err := p.frontend.Connect()
		if err != nil {
			return err
		}
		return conn.Close()
	})
	server.Ready(t)
}

func (p *programs) stopServer(t testing.TB, signal syscall.Signal) {
	t.Helper()
	// A drain may take 25 s; a test that stops a server has nothing to drain.
	if err := p.server.Stop(signal, 10*time.Second); err != nil && signal != syscall.SIGKILL {
		t.Fatalf("stopping the server by %v: %v", signal, err)
	}
}

func (p *programs) startAgent(t testing.TB, index int) {
	t.Helper()
	name := fmt.Sprintf("agent-%d", index)
	healthPort := FreePort(t)
	agent := StartProcess(t, p.dir, name, Program(), "agent",
		"--proxy-server-host", "127.0.0.1", "--proxy-server-port", fmt.Sprint(p.agentPort),
		"--ca-cert", Cert("ca.crt"), "--agent-cert", Cert("agent.crt"), "--agent-key", Cert("agent.key"),
		"--agent-id", name,
		"--health-server-host", "127.0.0.1", "--health-server-port", fmt.Sprint(healthPort),
		"--admin-bind-address", "127.0.0.1", "--admin-server-port", fmt.Sprint(FreePort(t)),
		"--io", Driver())
	agent.serves = func() *Process { return p.server }
	p.agents[index], p.agentHealthPorts[index] = agent, healthPort
	MustWithin(t, startLimit, name+"'s /readyz", func() error { return p.agentReady(index) })
	agent.Ready(t)
}

func (p *programs) killAgent(t testing.TB, index int) {
	t.Helper()
	agent := p.agents[index]
	if err := agent.Stop(syscall.SIGKILL, 5*time.Second); agent.command.ProcessState == nil {
		t.Fatalf("killing agent %d: %v", index, err)
	}
}

func (p *programs) serverReady() error { return p.server.Get(p.healthPort, "/readyz") }

func (p *programs) agentReady(index int) error {
	return p.agents[index].Get(p.agentHealthPorts[index], "/readyz")
}

// Cert is the path of a file that `adit certs` made.
func Cert(file string) string { return filepath.Join(suite.certs, file) }

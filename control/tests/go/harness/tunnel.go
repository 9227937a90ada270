package harness

import (
	"fmt"
	"net"
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
	// UDSName is the path of the server's frontend socket.
	UDSName string

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

// Start brings up a server with so many agents and returns when all of them
// call themselves ready. With no agent it returns when the server listens.
func Start(t testing.TB, agents int) *Tunnel {
	t.Helper()
	// Not t.TempDir: its long names do not fit into a socket address.
	dir, err := os.MkdirTemp("", "adit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tunnel := &Tunnel{UDSName: filepath.Join(dir, "frontend.sock")}
	tunnel.Dial = clusterDialer(t, dir, tunnel.UDSName)
	if fault := os.Getenv("ADIT_DOUBLE"); fault != "" {
		tunnel.backing = &Double{udsName: tunnel.UDSName, fault: fault}
	} else {
		tunnel.backing = newPrograms(t, dir, tunnel.UDSName)
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
	dir, udsName string

	server                           *process
	agentPort, healthPort, adminPort int
	agents                           map[int]*process
	agentHealthPorts                 map[int]int
}

func newPrograms(t testing.TB, dir, udsName string) *programs {
	return &programs{
		dir: dir, udsName: udsName,
		agentPort: freePort(t), healthPort: freePort(t), adminPort: freePort(t),
		agents: map[int]*process{}, agentHealthPorts: map[int]int{},
	}
}

func (p *programs) startServer(t testing.TB) {
	t.Helper()
	p.server = startProcess(t, p.dir, "server", suite.program, "server",
		"--uds-name", p.udsName, "--server-port", "0", "--mode", "http-connect",
		"--cluster-cert", cert("server.crt"), "--cluster-key", cert("server.key"),
		"--cluster-ca-cert", cert("ca.crt"),
		"--agent-bind-address", "127.0.0.1", "--agent-port", fmt.Sprint(p.agentPort),
		"--health-bind-address", "127.0.0.1", "--health-port", fmt.Sprint(p.healthPort),
		"--admin-bind-address", "127.0.0.1", "--admin-port", fmt.Sprint(p.adminPort),
		"--server-id", "counterparts", "--io", suite.driver)
	server := p.server
	MustWithin(t, startLimit, "the server's /healthz", func() error {
		return server.get(p.healthPort, "/healthz")
	})
	// Liveness says nothing about the frontend, and readiness needs an agent.
	MustWithin(t, startLimit, "the frontend's socket", func() error {
		conn, err := net.Dial("unix", p.udsName)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	server.ready(t)
}

func (p *programs) stopServer(t testing.TB, signal syscall.Signal) {
	t.Helper()
	// A drain may take 25 s; a test that stops a server has nothing to drain.
	if err := p.server.stop(signal, 10*time.Second); err != nil && signal != syscall.SIGKILL {
		t.Fatalf("stopping the server by %v: %v", signal, err)
	}
}

func (p *programs) startAgent(t testing.TB, index int) {
	t.Helper()
	name := fmt.Sprintf("agent-%d", index)
	healthPort := freePort(t)
	agent := startProcess(t, p.dir, name, suite.program, "agent",
		"--proxy-server-host", "127.0.0.1", "--proxy-server-port", fmt.Sprint(p.agentPort),
		"--ca-cert", cert("ca.crt"), "--agent-cert", cert("agent.crt"), "--agent-key", cert("agent.key"),
		"--agent-id", name,
		"--health-server-host", "127.0.0.1", "--health-server-port", fmt.Sprint(healthPort),
		"--admin-bind-address", "127.0.0.1", "--admin-server-port", fmt.Sprint(freePort(t)),
		"--io", suite.driver)
	p.agents[index], p.agentHealthPorts[index] = agent, healthPort
	MustWithin(t, startLimit, name+"'s /readyz", func() error { return p.agentReady(index) })
	agent.ready(t)
}

func (p *programs) killAgent(t testing.TB, index int) {
	t.Helper()
	agent := p.agents[index]
	if err := agent.stop(syscall.SIGKILL, 5*time.Second); agent.command.ProcessState == nil {
		t.Fatalf("killing agent %d: %v", index, err)
	}
}

func (p *programs) serverReady() error { return p.server.get(p.healthPort, "/readyz") }

func (p *programs) agentReady(index int) error {
	return p.agents[index].get(p.agentHealthPorts[index], "/readyz")
}

// cert is the path of a file that `adit certs` made.
func cert(file string) string { return filepath.Join(suite.certs, file) }

package harness

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// programs is the backing that starts adit.
type programs struct {
	dir      string
	frontend Frontend
	options  Options

	server                           *Process
	agentPort, healthPort, adminPort int
	agents                           map[int]*Agent
}

func newPrograms(t testing.TB, dir string, frontend Frontend, options Options) *programs {
	return &programs{
		dir: dir, frontend: frontend, options: options,
		agentPort: FreePort(t), healthPort: FreePort(t), adminPort: FreePort(t),
		agents: map[int]*Agent{},
	}
}

func (p *programs) startServer(t testing.TB) {
	t.Helper()
	arguments := []string{"server",
		"--cluster-cert", Cert("server.crt"), "--cluster-key", Cert("server.key"),
		"--cluster-ca-cert", Cert("ca.crt"),
		"--agent-bind-address", "127.0.0.1", "--agent-port", fmt.Sprint(p.agentPort),
		"--health-bind-address", "127.0.0.1", "--health-port", fmt.Sprint(p.healthPort),
		"--admin-bind-address", "127.0.0.1", "--admin-port", fmt.Sprint(p.adminPort),
		"--server-id", "counterparts", "--io", Driver()}
	arguments = append(append(arguments, p.frontend.Flags()...), p.options.ServerFlags...)
	p.server = StartProcess(t, p.dir, "server", Program(), arguments...)
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
	address := fmt.Sprintf("127.0.0.1:%d", p.agentPort)
	agent := startAgent(t, p.dir, name, address, p.options.AgentFlags)
	agent.process.serves = func() *Process { return p.server }
	p.agents[index] = agent
	MustWithin(t, startLimit, name+"'s /readyz", agent.Ready)
	agent.process.Ready(t)
}

func (p *programs) killAgent(t testing.TB, index int) {
	t.Helper()
	agent := p.agents[index].process
	if err := agent.Stop(syscall.SIGKILL, 5*time.Second); agent.command.ProcessState == nil {
		t.Fatalf("killing agent %d: %v", index, err)
	}
}

func (p *programs) serverReady() error { return p.server.Get(p.healthPort, "/readyz") }

func (p *programs) agentReady(index int) error {
	return p.agents[index].Ready()
}

// Cert is the path of a file that `adit certs` made.
func Cert(file string) string { return filepath.Join(suite.certs, file) }

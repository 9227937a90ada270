package harness

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Agent is one `adit agent`.
type Agent struct {
	process    *Process
	healthPort int
}

// StartAgent starts an agent for a server that the harness does not know, with
// the given flags behind its own. It does not wait for it to be ready.
func StartAgent(t testing.TB, name, address string, flags ...string) *Agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "adit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return startAgent(t, dir, name, address, flags)
}

func startAgent(t testing.TB, dir, name, address string, flags []string) *Agent {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	healthPort := FreePort(t)
	arguments := []string{"agent",
		"--proxy-server-host", host, "--proxy-server-port", port,
		"--ca-cert", Cert("ca.crt"), "--agent-cert", Cert("agent.crt"), "--agent-key", Cert("agent.key"),
		"--agent-id", name,
		"--health-server-host", "127.0.0.1", "--health-server-port", fmt.Sprint(healthPort),
		"--admin-bind-address", "127.0.0.1", "--admin-server-port", fmt.Sprint(FreePort(t)),
		"--io", Driver()}
	return &Agent{process: StartProcess(t, dir, name, Program(), append(arguments, flags...)...), healthPort: healthPort}
}

// Ready asks the agent's /readyz: nil stands for a 200.
func (a *Agent) Ready() error { return a.process.Get(a.healthPort, "/readyz") }

// Signal sends a signal that is meant to end the agent, at once or in a while.
func (a *Agent) Signal(signal syscall.Signal) { a.process.signal(signal) }

// Await waits for the end of an agent that was signalled; nil stands for its
// success.
func (a *Agent) Await(within time.Duration) error { return a.process.await(within) }

// AgentTLS is what an agent needs to be known to adit's server.
func AgentTLS(t testing.TB) *tls.Config {
	t.Helper()
	config := clusterTLS(t, "agent")
	config.ServerName = "127.0.0.1"
	return config
}

// ServerTLS is what a server needs to be known to adit's agents.
func ServerTLS(t testing.TB) *tls.Config {
	t.Helper()
	config := clusterTLS(t, "server")
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, config.RootCAs
	return config
}

func clusterTLS(t testing.TB, name string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(Cert(name+".crt"), Cert(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := certPool(Cert("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
}

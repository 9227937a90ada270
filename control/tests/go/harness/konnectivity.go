package harness

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"adit.test/counterparts/harness/agentdouble"
	"adit.test/counterparts/harness/serverdouble"
)

// konnectivity is the backing of both doubles of Konnectivity: what the tests of
// GRPC mode are tried against.
type konnectivity struct {
	frontend Frontend
	ca       *CA
	serving  *tls.Config
	server   *serverdouble.Server
	address  string
	agents   map[int]*agentdouble.Agent
}

func newKonnectivity(t testing.TB, frontend Frontend) *konnectivity {
	t.Helper()
	ca := NewCA(t, "konnectivity")
	return &konnectivity{
		frontend: frontend, ca: ca, agents: map[int]*agentdouble.Agent{},
		serving: &tls.Config{
			Certificates: []tls.Certificate{ca.Serving(t, []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    ca.Pool(),
		},
	}
}

func (k *konnectivity) startServer(t testing.TB) {
	t.Helper()
	k.server = serverdouble.Start(t, serverdouble.Options{Address: k.address, TLS: k.serving, ID: "double", Count: 1})
	k.address = k.server.Address
	_ = os.Remove(k.frontend.UDSName)
	listener, err := net.Listen("unix", k.frontend.UDSName)
	if err != nil {
		t.Fatal(err)
	}
	k.server.ServeFrontend(listener)
}

func (k *konnectivity) stopServer(testing.TB, syscall.Signal) { k.server.Stop() }

func (k *konnectivity) startAgent(t testing.TB, index int) {
	t.Helper()
	k.agents[index] = agentdouble.Start(agentdouble.Options{
		Address: k.address, ID: fmt.Sprintf("agent-%d", index),
		TLS: &tls.Config{
			RootCAs: k.ca.Pool(), ServerName: "127.0.0.1",
			Certificates: []tls.Certificate{k.ca.Client(t, "agents", "agent")},
		},
	})
	t.Cleanup(k.agents[index].Stop)
	MustWithin(t, startLimit, "the agent's connection", func() error { return k.agentReady(index) })
	MustWithin(t, startLimit, "the server's agent", k.serverReady)
}

func (k *konnectivity) killAgent(_ testing.TB, index int) { k.agents[index].Stop() }

func (k *konnectivity) serverReady() error {
	if len(k.server.Agents()) == 0 {
		return errors.New("no agent")
	}
	return nil
}

func (k *konnectivity) agentReady(index int) error {
	if len(k.agents[index].Servers()) == 0 {
		return fmt.Errorf("no server; %v", k.agents[index].Failures())
	}
	return nil
}

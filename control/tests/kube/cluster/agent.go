package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/agentdouble"
)

// oldAgentVerb is the first argument of the tests' program where it is to be an
// old agent: that one has to live in the node's namespace, and a thread can
// enter it only with a process of its own behind.
const oldAgentVerb = "old-agent"

// Agent is what runs at the node.
type Agent string

const (
	// Quic is adit's agent, which comes by QUIC.
	Quic Agent = "quic"
	// Tcp is adit's agent, which comes by TCP alone.
	Tcp Agent = "tcp"
	// Old is the double of Konnectivity's Go agent.
	Old Agent = "old agent"
)

// start starts the agent; to be called in the node's namespace.
func (a Agent) start(c *Cluster, port string) {
	if a == Old {
		harness.StartProcess(c.t, c.dir, "agent", os.Args[0], oldAgentVerb, controlPlaneAddress+":"+port,
			harness.Cert("ca.crt"), harness.Cert("agent.crt"), harness.Cert("agent.key"))
		return
	}
	transport := "auto"
	if a == Tcp {
		transport = "tcp"
	}
	harness.StartProcess(c.t, c.dir, "agent", harness.Program(),
		"agent", "--agent-id", "node-1", "--io", harness.Driver(), "--transport", transport,
		"--proxy-server-host", controlPlaneAddress, "--proxy-server-port", port,
		"--ca-cert", harness.Cert("ca.crt"),
		"--agent-cert", harness.Cert("agent.crt"), "--agent-key", harness.Cert("agent.key"))
}

// runOldAgent is the process that start begins for an old agent: it runs until
// it is killed.
func runOldAgent(arguments []string) int {
	if len(arguments) != 4 {
		fmt.Fprintln(os.Stderr, "kube: old-agent: address, CA, certificate and key are needed")
		return 2
	}
	config, err := oldAgentTLS(arguments[1], arguments[2], arguments[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube: old-agent:", err)
		return 2
	}
	agentdouble.Start(agentdouble.Options{Address: arguments[0], TLS: config, ID: "node-1"})
	select {}
}

func oldAgentTLS(ca, cert, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	bundle, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, errors.New("no certificate in " + ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: controlPlaneAddress}, nil
}

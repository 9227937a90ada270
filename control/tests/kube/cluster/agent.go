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
	// Token is adit's agent, which shows a service account's token and no
	// certificate.
	Token Agent = "token"
	// Old is the double of Konnectivity's Go agent, which shows a token as it does
	// in every published recipe.
	Old Agent = "old agent"
)

// showsToken says whether the server knows the agent by a token, and not by a
// certificate.
func (a Agent) showsToken() bool { return a == Token || a == Old }

// HasLease says whether the agent's server keeps a lease: those do that ask
// kube-apiserver anyway.
func (a Agent) HasLease() bool { return a.showsToken() }

// start starts the agent; to be called in the node's namespace.
func (a Agent) start(c *Cluster, port string) {
	if a == Old {
		harness.StartProcess(c.t, c.dir, "agent", os.Args[0], oldAgentVerb, controlPlaneAddress+":"+port,
			harness.Cert("ca.crt"), c.tokenFile())
		return
	}
	transport := "auto"
	if a == Tcp {
		transport = "tcp"
	}
	flags := []string{
		"agent", "--agent-id", "node-1", "--io", harness.Driver(), "--transport", transport,
		"--proxy-server-host", controlPlaneAddress, "--proxy-server-port", port,
		"--ca-cert", harness.Cert("ca.crt"),
	}
	if a == Token {
		flags = append(flags, "--service-account-token-path", c.tokenFile())
	} else {
		flags = append(flags, "--agent-cert", harness.Cert("agent.crt"), "--agent-key", harness.Cert("agent.key"))
	}
	harness.StartProcess(c.t, c.dir, "agent", harness.Program(), flags...)
}

// runOldAgent is the process that start begins for an old agent: it runs until
// it is killed.
func runOldAgent(arguments []string) int {
	if len(arguments) != 3 {
		fmt.Fprintln(os.Stderr, "kube: old-agent: address, CA and token's file are needed")
		return 2
	}
	config, err := oldAgentTLS(arguments[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube: old-agent:", err)
		return 2
	}
	token, err := os.ReadFile(arguments[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube: old-agent:", err)
		return 2
	}
	agentdouble.Start(agentdouble.Options{Address: arguments[0], TLS: config, ID: "node-1", Token: string(token)})
	select {}
}

func oldAgentTLS(ca string) (*tls.Config, error) {
	bundle, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, errors.New("no certificate in " + ca)
	}
	return &tls.Config{RootCAs: roots, ServerName: controlPlaneAddress}, nil
}

// Package kube proves adit with a real kube-apiserver in front and a kubelet's
// streaming server behind, used as people use them: by kubectl.
package kube

import (
	"os"
	"testing"

	"adit.test/counterparts/harness"
	"adit.test/kube/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// ways are those from kube-apiserver to the node that this run is about: each
// mode and transport of its egress with adit's agent over QUIC, and GRPC mode
// with what else may be at the node while a cluster moves to adit. A cluster
// takes a while to come up, so each of the latter has one driver.
var ways = []struct {
	name  string
	via   harness.Transport
	agent cluster.Agent
	// driver is the one of the two that this way is for; empty: both.
	driver string
}{
	{"uds", harness.UDS, cluster.Quic, ""},
	{"tcp", harness.TCP, cluster.Quic, ""},
	{"grpc, agent with a token", harness.GRPC, cluster.Token, "uring"},
	{"grpc, agent over TCP", harness.GRPC, cluster.Tcp, "epoll"},
	{"grpc, old agent with a token", harness.GRPC, cluster.Old, "uring"},
}

// TestKubernetes brings a cluster up for each way, because kube-apiserver reads
// its egress configuration once, and holds every promise to it.
func TestKubernetes(t *testing.T) {
	for _, way := range ways {
		if way.driver != "" && way.driver != harness.Driver() {
			continue
		}
		t.Run(way.name, func(t *testing.T) { overOneWay(t, way.via, way.agent) })
	}
}

func overOneWay(t *testing.T, via harness.Transport, agent cluster.Agent) {
	c := cluster.Start(t, via, agent)
	for _, promise := range []struct {
		name string
		test func(*testing.T, *cluster.Cluster)
	}{
		{"OnlyTheTunnelLeadsToTheNode", onlyTheTunnel},
		{"Logs", logs},
		{"LogsFollowed", logsFollowed},
		{"Exec", execCommands},
		{"ExecBulk", execBulk},
		{"Attach", attach},
		{"PortForward", portForward},
		{"NodeProxy", nodeProxy},
		{"PodAndServiceProxy", podAndServiceProxy},
		{"Webhook", webhook},
		{"FiftyAtOnce", fiftyAtOnce},
		{"DeadKubelet", deadKubelet},
		{"DeadWebhook", deadWebhook},
		{"ForeignKubelet", foreignKubelet},
	} {
		t.Run(promise.name, func(t *testing.T) { promise.test(t, c) })
	}
	if agent.HasLease() {
		t.Run("Lease", func(t *testing.T) { lease(t, c) })
	}
}

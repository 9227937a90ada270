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

// TestKubernetes brings a cluster up for each transport, because kube-apiserver
// reads its egress configuration once, and holds every promise to it.
func TestKubernetes(t *testing.T) {
	harness.OverEach(t, func(t *testing.T, via harness.Transport) {
		c := cluster.Start(t, via)
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
	})
}

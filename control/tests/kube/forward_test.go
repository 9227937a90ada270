package kube

import (
	"bufio"
	"fmt"
	"regexp"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness/suite"
	"adit.test/kube/cluster"
)

// kubectl port-forward: several connections at once to a port that speaks
// first, each half-closed by its client.
func portForward(t *testing.T, c *cluster.Cluster) {
	for _, protocol := range []struct{ name, variable string }{
		{"WebSocket", "KUBECTL_PORT_FORWARD_WEBSOCKETS=true"},
		{"SPDY", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"},
	} {
		t.Run(protocol.name, func(t *testing.T) {
			address := listening(t, c, protocol.variable, "port-forward", "pod/"+cluster.PodName, fmt.Sprintf(":%d", cluster.GreetingPort))
			var connections errgroup.Group
			for seed := range uint64(8) {
				connections.Go(func() error { return suite.ThroughForward(address, seed) })
			}
			if err := connections.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// anAddress is what kubectl says it listens on.
var anAddress = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// listening starts a kubectl that listens and returns where.
func listening(t *testing.T, c *cluster.Cluster, variable string, arguments ...string) string {
	t.Helper()
	out, _ := c.KubectlStartWith(t, []string{variable}, arguments...)
	addresses := make(chan string, 1)
	go func() {
		defer close(addresses)
		scanner := bufio.NewScanner(out)
		for found := false; scanner.Scan(); {
			if address := anAddress.FindString(scanner.Text()); address != "" && !found {
				found = true
				addresses <- address
			}
		}
	}()
	select {
	case address := <-addresses:
		if address == "" {
			t.Fatalf("kubectl %q ended without listening", arguments)
		}
		return address
	case <-time.After(cluster.CommandLimit):
		t.Fatalf("kubectl %q does not listen", arguments)
		return ""
	}
}

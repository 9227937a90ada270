package kube

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"adit.test/counterparts/harness"
	"adit.test/kube/cluster"
)

// Paths of kube-apiserver that lead to the pod's HTTP port.
var (
	podProxy     = fmt.Sprintf("/api/v1/namespaces/default/pods/%s:%d/proxy", cluster.PodName, cluster.HTTPPort)
	serviceProxy = fmt.Sprintf("/api/v1/namespaces/default/services/%s:80/proxy", cluster.Service)
	nodeProxied  = fmt.Sprintf("/api/v1/nodes/%s/proxy", cluster.NodeName)
)

// Nothing here proves anything about a tunnel if there is another way.
func onlyTheTunnel(t *testing.T, _ *cluster.Cluster) {
	for _, address := range []string{
		fmt.Sprintf("%s:%d", cluster.NodeAddress, cluster.KubeletPort),
		fmt.Sprintf("%s:%d", cluster.PodAddress, cluster.HTTPPort),
		fmt.Sprintf("%s:%d", cluster.WebhookAddress, cluster.WebhookPort),
	} {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			t.Errorf("%s can be reached without the tunnel", address)
		} else if !strings.Contains(err.Error(), "network is unreachable") {
			t.Error(err)
		}
	}
}

// The node proxy reaches the kubelet as kube-apiserver, from the agent's side.
func nodeProxy(t *testing.T, c *cluster.Cluster) {
	expected := fmt.Sprintf("%s from %s", harness.KubeletClientName, cluster.NodeAddress)
	if result := c.Kubectl("get", "--raw", nodeProxied+"/whoami"); result.Code != 0 || result.Out != expected {
		t.Errorf("expected %q: %v", expected, result)
	}
	getRaw(t, c, nodeProxied+"/payload/", 81, harness.Mebibyte)
	address := listening(t, c, "", "proxy", "--port=0")
	client := &http.Client{Timeout: harness.RequestLimit}
	if err := harness.Store(client, "http://"+address+nodeProxied+"/payload", 82, 4*harness.Mebibyte); err != nil {
		t.Error(err)
	}
}

// The pod and the service proxy, for kubectl get --raw and through kubectl
// proxy with bodies in both directions.
func podAndServiceProxy(t *testing.T, c *cluster.Cluster) {
	address := listening(t, c, "", "proxy", "--port=0")
	client := &http.Client{Timeout: harness.RequestLimit}
	for seed, path := range []string{podProxy, serviceProxy} {
		getRaw(t, c, path+"/", uint64(seed), 4*harness.Mebibyte)
		base := "http://" + address + path
		if err := harness.Fetch(client, base, uint64(seed), 8*harness.Mebibyte); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if err := harness.Store(client, base, uint64(seed), 8*harness.Mebibyte); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// getRaw gets a payload by kubectl get --raw.
func getRaw(t *testing.T, c *cluster.Cluster, path string, seed uint64, size int64) {
	t.Helper()
	if err := rawPayload(c, path, seed, size); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func rawPayload(c *cluster.Cluster, path string, seed uint64, size int64) error {
	result := c.Kubectl("get", "--raw", fmt.Sprintf("%s?seed=%d&bytes=%d", path, seed, size))
	out := strings.NewReader(result.Out)
	err := harness.CheckPayload(out, seed, size)
	if err == nil {
		err = harness.CheckEOF(out)
	}
	if err != nil || result.Code != 0 {
		// The output is a payload: of no use in a message.
		return fmt.Errorf("%v, exit code %d: %s", err, result.Code, result.Complaints)
	}
	return nil
}

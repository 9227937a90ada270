package kube

import (
	"strings"
	"testing"
	"time"

	"adit.test/kube/cluster"
)

// prompt is what a refusal may take: kubectl's own start on a busy machine is
// most of it, and no time limit of kube-apiserver or adit is as short.
const prompt = 4 * time.Second

// A node whose kubelet is gone: kubectl says so, and at once.
func deadKubelet(t *testing.T, c *cluster.Cluster) {
	for _, arguments := range [][]string{
		{"logs", cluster.DeadPod},
		{"exec", cluster.DeadPod, "--", "true"},
		{"port-forward", "pod/" + cluster.DeadPod, ":80"},
		{"get", "--raw", "/api/v1/nodes/" + cluster.DeadNode + "/proxy/healthz"},
	} {
		result := c.Kubectl(arguments...)
		if result.Code == 0 || !strings.Contains(result.Complaints, "connection refused") || result.Took > prompt {
			t.Errorf("kubectl %q: expected \"connection refused\" within %v: %v", arguments, prompt, result)
		}
	}
}

// A webhook that is gone: the create fails, and kubectl says why.
func deadWebhook(t *testing.T, c *cluster.Cluster) {
	result := createConfigMap(c, "unmarked", cluster.DeadWebhookService)
	if result.Code == 0 || !strings.Contains(result.Complaints, "connection refused") || result.Took > prompt {
		t.Errorf("expected \"connection refused\" within %v: %v", prompt, result)
	}
}

// A kubelet whose certificate somebody else signed is not spoken to, whatever
// brought the connection to it, and the error is about the certificate.
func foreignKubelet(t *testing.T, c *cluster.Cluster) {
	for _, arguments := range [][]string{
		{"logs", cluster.ForeignPod},
		{"exec", cluster.ForeignPod, "--", "true"},
		{"get", "--raw", "/api/v1/nodes/" + cluster.ForeignNode + "/proxy/healthz"},
	} {
		result := c.Kubectl(arguments...)
		if result.Code == 0 || !strings.Contains(result.Complaints, "certificate signed by unknown authority") {
			t.Errorf("kubectl %q: expected a refused certificate: %v", arguments, result)
		}
	}
	if requests := c.Node.Strangers.Load(); requests != 0 {
		t.Errorf("%d requests reached a kubelet with a foreign certificate", requests)
	}
}

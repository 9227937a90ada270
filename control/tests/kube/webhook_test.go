package kube

import (
	"fmt"
	"strings"
	"testing"

	"adit.test/kube/cluster"
)

// configMap is a config map that the named webhook is asked about.
func configMap(name, webhook string) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": {"name": %q, "labels": {%q: %q}}}`, name, cluster.WebhookLabel, webhook)
}

// createConfigMap has kubectl create a config map and print how the webhook
// marked it.
func createConfigMap(c *cluster.Cluster, name, webhook string) cluster.Result {
	return c.KubectlWith(strings.NewReader(configMap(name, webhook)), nil,
		"create", "--validate=false", "-f", "-", "-o", "jsonpath={.data.marked-by}")
}

// An admission webhook behind the tunnel changes what is created, and refuses
// with its own words.
func webhook(t *testing.T, c *cluster.Cluster) {
	before := c.Node.Webhook.Asked.Load()
	if result := createConfigMap(c, "marked", cluster.WebhookService); result.Code != 0 || result.Out != "webhook" {
		t.Errorf("expected the webhook's mark: %v", result)
	}
	result := createConfigMap(c, cluster.RefusedName, cluster.WebhookService)
	if result.Code == 0 || !strings.Contains(result.Complaints, cluster.RefusalReason) {
		t.Errorf("expected the refusal %q: %v", cluster.RefusalReason, result)
	}
	if asked := c.Node.Webhook.Asked.Load() - before; asked != 2 {
		t.Errorf("the webhook was asked %d times about 2 objects", asked)
	}
}

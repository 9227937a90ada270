package cluster

import (
	"fmt"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"adit.test/counterparts/harness"
)

// Names of objects, all in the namespace default.
const (
	// NodeName is the node with the kubelet, PodName the pod that runs there.
	NodeName, PodName = "node-1", "web"
	// DeadNode is a node without a kubelet, DeadPod a pod of it.
	DeadNode, DeadPod = "node-dead", "web-on-dead"
	// ForeignNode is a node whose kubelet has a foreign certificate, ForeignPod
	// a pod of it.
	ForeignNode, ForeignPod = "node-foreign", "web-on-foreign"
	// Service is the service in front of the pod, on port 80.
	Service = "web"
	// DeadWebhookService is a service that the configuration for config maps
	// labelled with it points to, and behind which nothing listens.
	DeadWebhookService = "webhook-dead"
	// WebhookLabel chooses which webhook looks at a config map: its value is
	// the service's name.
	WebhookLabel = "adit.test/webhook"
)

// createObjects writes what kubelets, controllers and a scheduler would have.
func (c *Cluster) createObjects() {
	c.t.Helper()
	// The namespace is made by kube-apiserver itself, shortly after its start.
	harness.MustWithin(c.t, startLimit, "the namespace default", func() error {
		_, err := c.Client.CoreV1().Namespaces().Get(c.t.Context(), "default", metav1.GetOptions{})
		return err
	})
	c.createNode(NodeName, NodeAddress, PodName)
	c.createNode(DeadNode, DeadAddress, DeadPod)
	c.createNode(ForeignNode, ForeignAddress, ForeignPod)
	c.createService()
	c.createWebhook(WebhookService, WebhookAddress, WebhookPort)
	c.createWebhook(DeadWebhookService, deadWebhookAddress, WebhookPort)
}

// createNode registers a node and a pod that runs on it.
func (c *Cluster) createNode(name, address, pod string) {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	nodes, pods := c.Client.CoreV1().Nodes(), c.Client.CoreV1().Pods("default")
	node, err := nodes.Create(ctx, &core.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []core.NodeAddress{{Type: core.NodeInternalIP, Address: address}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = KubeletPort
	if _, err := nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	created, err := pods.Create(ctx, &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod},
		Spec: core.PodSpec{
			NodeName: name,
			Containers: []core.Container{{
				Name: "main", Image: "none", Stdin: true,
				Ports: []core.ContainerPort{{ContainerPort: HTTPPort}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Status.Phase = core.PodRunning
	created.Status.HostIP = address
	created.Status.PodIP = PodAddress
	created.Status.PodIPs = []core.PodIP{{IP: PodAddress}}
	created.Status.ContainerStatuses = []core.ContainerStatus{{
		Name: "main", Ready: true, ContainerID: "none://" + pod,
		State: core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}
	if _, err := pods.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// createService makes a service and the endpoints that a controller would have
// found for it.
func (c *Cluster) createService() {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	pod, err := c.Client.CoreV1().Pods("default").Get(ctx, PodName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Client.CoreV1().Services("default").Create(ctx, &core.Service{
		ObjectMeta: metav1.ObjectMeta{Name: Service},
		Spec:       core.ServiceSpec{Ports: []core.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(HTTPPort)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// kube-apiserver's service proxy reads this older kind, not EndpointSlices.
	//nolint:staticcheck
	_, err = c.Client.CoreV1().Endpoints("default").Create(ctx, &core.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: Service},
		Subsets: []core.EndpointSubset{{
			Addresses: []core.EndpointAddress{{
				IP:        PodAddress,
				TargetRef: &core.ObjectReference{Kind: "Pod", Namespace: "default", Name: PodName, UID: pod.UID},
			}},
			Ports: []core.EndpointPort{{Port: HTTPPort}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// createWebhook makes a service with a fixed address, which kube-apiserver
// itself resolves, and has config maps that carry its label sent there.
func (c *Cluster) createWebhook(name, address string, port int32) {
	t, ctx := c.t, c.t.Context()
	t.Helper()
	_, err := c.Client.CoreV1().Services("default").Create(ctx, &core.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       core.ServiceSpec{ClusterIP: address, Ports: []core.ServicePort{{Port: port}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	failed, none, path, seconds := admissionregistration.Fail, admissionregistration.SideEffectClassNone, "/", int32(10)
	configuration := &admissionregistration.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionregistration.MutatingWebhook{{
			Name: fmt.Sprintf("%s.adit.test", name),
			ClientConfig: admissionregistration.WebhookClientConfig{
				Service:  &admissionregistration.ServiceReference{Namespace: "default", Name: name, Path: &path, Port: &port},
				CABundle: c.ca.PEM(),
			},
			Rules: []admissionregistration.RuleWithOperations{{
				Operations: []admissionregistration.OperationType{admissionregistration.Create},
				Rule: admissionregistration.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"},
				},
			}},
			ObjectSelector:          &metav1.LabelSelector{MatchLabels: map[string]string{WebhookLabel: name}},
			FailurePolicy:           &failed,
			SideEffects:             &none,
			TimeoutSeconds:          &seconds,
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	_, err = c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, configuration, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

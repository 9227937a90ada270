package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"adit.test/counterparts/harness"
)

// startLimit bounds a program's way from its start to being ready. A machine
// that also builds something takes most of it.
const startLimit = 60 * time.Second

// Cluster is a running control plane and its node. It belongs to one test and
// ends with it.
type Cluster struct {
	// Client speaks to kube-apiserver as an administrator.
	Client *kubernetes.Clientset
	// Node is what the tunnel leads to.
	Node *Node

	t   testing.TB
	dir string
	ca  *harness.CA
	// administrator's certificate and key, as files.
	adminCert, adminKey string
	apiserverPort       int
}

// Start brings everything up, with kube-apiserver's egress over the given
// transport and the given agent at the node, and returns when the node's kubelet
// can be reached through it.
func Start(t testing.TB, via harness.Transport, agent Agent) *Cluster {
	t.Helper()
	// Not t.TempDir: its long names do not fit into a socket address.
	dir, err := os.MkdirTemp("", "adit-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &Cluster{t: t, dir: dir, ca: harness.NewCA(t, "kubernetes")}
	c.adminCert, c.adminKey = harness.WritePair(t, dir, "admin", c.ca.Client(t, "system:masters", "administrator"))

	net := newNodeNamespace(t)
	etcd := c.startEtcd()
	frontend := harness.NewFrontend(t, dir, via)
	c.apiserverPort = harness.FreePort(t)
	ready, agentPort := c.startServer(frontend, agent)
	c.startApiserver(etcd, frontend)
	if agent.showsToken() {
		c.createCredentials()
	}
	err = net.do(func() error {
		agent.start(c, agentPort)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	harness.MustWithin(t, startLimit, "the server's /readyz", ready)
	c.Node = newNode(t, net, c.ca)
	c.createObjects()
	return c
}

// startEtcd returns the URL at which it serves.
func (c *Cluster) startEtcd() string {
	c.t.Helper()
	clients := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(c.t))
	peers := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(c.t))
	harness.StartProcess(c.t, c.dir, "etcd", "etcd",
		"--data-dir", filepath.Join(c.dir, "etcd"), "--log-level", "warn", "--logger", "zap",
		"--listen-client-urls", clients, "--advertise-client-urls", clients,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
		"--initial-cluster", "default="+peers)
	return clients
}

// startServer starts adit's server here, and says how it tells that it has an
// agent, and at which port agents find it.
func (c *Cluster) startServer(frontend harness.Frontend, agent Agent) (ready func() error, agentPort string) {
	t := c.t
	t.Helper()
	agentPort = fmt.Sprint(harness.FreePort(t))
	health, admin := harness.FreePort(t), fmt.Sprint(harness.FreePort(t))
	flags := []string{
		"server", "--server-id", "kube", "--io", harness.Driver(),
		"--cluster-cert", harness.Cert("server.crt"), "--cluster-key", harness.Cert("server.key"),
		"--agent-bind-address", controlPlaneAddress, "--agent-port", agentPort,
		"--health-bind-address", "127.0.0.1", "--health-port", fmt.Sprint(health),
		"--admin-bind-address", "127.0.0.1", "--admin-port", admin,
	}
	if agent.showsToken() {
		flags = append(flags, c.tokenFlags()...)
	} else {
		flags = append(flags, "--cluster-ca-cert", harness.Cert("ca.crt"))
	}
	server := harness.StartProcess(t, c.dir, "server", harness.Program(), append(flags, frontend.Flags()...)...)
	return func() error { return server.Get(health, "/readyz") }, agentPort
}

// startApiserver starts kube-apiserver, with the flags that matter here set as
// kubeadm sets them, and waits until it is ready.
func (c *Cluster) startApiserver(etcd string, frontend harness.Frontend) {
	t := c.t
	t.Helper()
	caFile := harness.WriteCA(t, c.dir, "kubernetes-ca", c.ca)
	cert, key := harness.WritePair(t, c.dir, "apiserver", c.ca.Serving(t, []string{"localhost"}, loopback))
	kubeletCert, kubeletKey := harness.WritePair(t, c.dir, "kubelet-client", c.ca.KubeletClient(t))
	tokensPublic, tokens := harness.WritePair(t, c.dir, "service-accounts", c.ca.Client(t, "none", "none"))
	apiserver := harness.StartProcess(t, c.dir, "kube-apiserver", program("kube-apiserver"),
		"--etcd-servers", etcd, "--service-cluster-ip-range", serviceRange,
		"--bind-address", "127.0.0.1", "--secure-port", fmt.Sprint(c.apiserverPort),
		"--advertise-address", controlPlaneAddress, "--endpoint-reconciler-type", "none",
		"--tls-cert-file", cert, "--tls-private-key-file", key, "--client-ca-file", caFile,
		"--authorization-mode", "Node,RBAC", "--disable-admission-plugins", "ServiceAccount",
		"--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file", tokensPublic, "--service-account-signing-key-file", tokens,
		"--kubelet-certificate-authority", caFile,
		"--kubelet-client-certificate", kubeletCert, "--kubelet-client-key", kubeletKey,
		"--egress-selector-config-file", harness.WriteEgressConfiguration(t, c.dir, frontend))

	client, err := kubernetes.NewForConfig(&restclient.Config{
		Host: c.host(), QPS: -1, Timeout: 30 * time.Second,
		TLSClientConfig: restclient.TLSClientConfig{CertFile: c.adminCert, KeyFile: c.adminKey, CAData: c.ca.PEM()},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Client = client
	harness.MustWithin(t, startLimit, "kube-apiserver's /readyz", func() error {
		if err := apiserver.Alive(); err != nil {
			t.Fatal(err)
		}
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(t.Context()).Error()
	})
}

func (c *Cluster) host() string { return fmt.Sprintf("https://127.0.0.1:%d", c.apiserverPort) }

package cluster

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// Ports of the node and of its pod.
const (
	// KubeletPort is the kubelet's HTTPS port.
	KubeletPort = 10250
	// HTTPPort is the pod's port with payloads (harness.Payloads).
	HTTPPort = 8080
	// GreetingPort is the pod's port that speaks first (suite.GreetAndEcho).
	GreetingPort = 2525
	// WebhookPort is the webhook's HTTPS port.
	WebhookPort = 8443
)

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

// Node is everything that the tunnel leads to.
type Node struct {
	// Log is what the pod's container prints.
	Log *Log
	// Strangers counts requests that reached the kubelet of the foreign
	// authority: there must be none.
	Strangers atomic.Int64
	// Webhook is the admission webhook.
	Webhook *Webhook

	net *namespace
}

// newNode brings the node's servers up.
func newNode(t testing.TB, net *namespace, ca *harness.CA) *Node {
	t.Helper()
	node := &Node{Log: new(Log), net: net}
	hour := time.Now().Add(time.Hour)
	serve(t, net, NodeAddress, KubeletPort, node.kubelet(), &tls.Config{
		Certificates: []tls.Certificate{ca.KubeletServing(t, NodeName, parse(NodeAddress), hour)},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	})
	foreign := harness.NewCA(t, "kubernetes")
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { node.Strangers.Add(1) })
	serve(t, net, ForeignAddress, KubeletPort, count, &tls.Config{
		Certificates: []tls.Certificate{foreign.KubeletServing(t, ForeignNode, parse(ForeignAddress), hour)},
	})
	serve(t, net, PodAddress, HTTPPort, http.HandlerFunc(harness.Payloads), nil)
	greet(net.listen(t, fmt.Sprintf("%s:%d", PodAddress, GreetingPort)))
	node.Webhook = newWebhook(t, net, ca)
	return node
}

// greet serves the port that speaks first, for as long as it is open.
func greet(listener net.Listener) {
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = suite.GreetAndEcho(conn)
			}()
		}
	}()
}

// serve serves HTTP, or HTTPS with a TLS configuration, in the namespace.
func serve(t testing.TB, net *namespace, address string, port int, handler http.Handler, config *tls.Config) {
	t.Helper()
	listener := net.listen(t, fmt.Sprintf("%s:%d", address, port))
	// Refused handshakes are what some tests are about: no noise about them.
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	t.Cleanup(func() { server.Close() })
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	go func() { _ = server.Serve(listener) }()
}

func parse(address string) []net.IP { return []net.IP{net.ParseIP(address)} }

// kubelet answers what kube-apiserver asks of a kubelet, under the kubelet's
// paths, with the streaming server that kubelets and container runtimes have.
func (node *Node) kubelet() http.Handler {
	limits := streaming.DefaultConfig
	runtime := containers{node}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, runtime, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"],
			options, limits.StreamIdleTimeout, limits.StreamCreationTimeout, limits.SupportedRemoteCommandProtocols)
	})
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeAttach(w, r, runtime, r.PathValue("pod"), "", r.PathValue("container"),
			options, limits.StreamIdleTimeout, limits.StreamCreationTimeout, limits.SupportedRemoteCommandProtocols)
	})
	mux.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, runtime, r.PathValue("pod"), "",
			options, limits.StreamIdleTimeout, limits.StreamCreationTimeout, limits.SupportedPortForwardProtocols)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		node.Log.serve(w, r, strings.EqualFold(r.URL.Query().Get("follow"), "true"))
	})
	mux.HandleFunc("/payload/", harness.Payloads)
	mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s from %s", r.TLS.PeerCertificates[0].Subject.CommonName, host)
	})
	return mux
}

package counterparts

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/httpstream"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// kubectl port-forward: several connections inside one upgraded one, each to a
// server that speaks first, each half-closed by its client.
func TestPortForward(t *testing.T) {
	tunnel := harness.Start(t, 1)
	node := newNode(t)
	transport := tunnel.Transport(t, suite.ApiserverTLS(t, node.ca))
	cases := []struct {
		name    string
		handler func(*url.URL, http.RoundTripper) http.Handler
		dialer  func(*testing.T, *url.URL) httpstream.Dialer
	}{
		{"SPDY", upgradeAware, spdyDialer},
		{"SPDY in WebSocket", tunneling, webSocketDialer},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			request, err := node.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: "pod", Port: []int32{80}})
			if err != nil {
				t.Fatal(err)
			}
			front := apiserver(t, c.handler, transport, request.Url)
			location, err := url.Parse(front.URL)
			if err != nil {
				t.Fatal(err)
			}
			local := forward(t, c.dialer(t, location))
			var connections errgroup.Group
			for seed := range uint64(8) {
				connections.Go(func() error { return suite.ThroughForward(local, seed) })
			}
			if err := connections.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// forward runs kubectl's port-forward to port 80 and returns its local address.
func forward(t *testing.T, dialer httpstream.Dialer) string {
	t.Helper()
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{":80"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	t.Cleanup(func() {
		close(stop)
		if err := <-ended; err != nil {
			t.Errorf("port-forward: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("port-forward: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("port-forward: not ready within 20 s")
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

func spdyDialer(t *testing.T, front *url.URL) httpstream.Dialer {
	t.Helper()
	transport, upgrader, err := spdy.RoundTripperFor(&restclient.Config{Host: front.String()})
	if err != nil {
		t.Fatal(err)
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, front)
}

func webSocketDialer(t *testing.T, front *url.URL) httpstream.Dialer {
	t.Helper()
	dialer, err := portforward.NewSPDYOverWebsocketDialer(front, &restclient.Config{Host: front.String()})
	if err != nil {
		t.Fatal(err)
	}
	return dialer
}

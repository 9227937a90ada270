package suite

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// Loopback is every address that a test's server may have.
var Loopback = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}

// Kubelet serves HTTPS as a kubelet does: with the given serving certificate,
// and only for kube-apiserver's client certificate.
func Kubelet(t *testing.T, serving tls.Certificate, clients *harness.CA, http2 bool, handler http.Handler) (*httptest.Server, *CountingListener) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	counting := &CountingListener{Listener: server.Listener}
	server.Listener = counting
	server.EnableHTTP2 = http2
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{serving},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients.Pool(),
	}
	// Refused handshakes are what some tests are about: no noise about them.
	server.Config.ErrorLog = discard
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, counting
}

// ApiserverTLS is what kube-apiserver uses towards kubelets.
func ApiserverTLS(t *testing.T, ca *harness.CA) *tls.Config {
	t.Helper()
	return &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.KubeletClient(t)}}
}

// The TLS session is kube-apiserver's and the kubelet's alone: each sees the
// other's certificate, and a wrong one is refused whatever stands in between.
func KubeletServingCertificate(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	ca, stranger := harness.NewCA(t, "kubernetes"), harness.NewCA(t, "kubernetes")
	hour := time.Now().Add(time.Hour)
	elsewhere := []net.IP{net.IPv4(192, 0, 2, 7)}

	cases := []struct {
		name    string
		serving tls.Certificate
		host    string
		check   func(error) error
	}{
		{"right address", ca.KubeletServing(t, "node-1", Loopback, hour), "127.0.0.1", nil},
		{"right name", ca.KubeletServing(t, "localhost", Loopback, hour), "localhost", nil},
		{"other authority", stranger.KubeletServing(t, "node-1", Loopback, hour), "127.0.0.1", refusal[x509.UnknownAuthorityError]},
		{"other address", ca.KubeletServing(t, "node-1", elsewhere, hour), "127.0.0.1", refusal[x509.HostnameError]},
		{"other name", ca.KubeletServing(t, "node-2", elsewhere, hour), "localhost", refusal[x509.HostnameError]},
		{"expired", ca.KubeletServing(t, "node-1", Loopback, time.Now().Add(-time.Minute)), "127.0.0.1", refusal[x509.CertificateInvalidError]},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			served := 0
			server, _ := Kubelet(t, c.serving, ca, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served++
				fmt.Fprint(w, r.TLS.PeerCertificates[0].Subject.CommonName)
			}))
			client := &http.Client{Transport: tunnel.Transport(t, ApiserverTLS(t, ca)), Timeout: harness.RequestLimit}
			_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
			response, err := client.Get("https://" + net.JoinHostPort(c.host, port) + "/pods")
			if c.check != nil {
				if served != 0 {
					t.Errorf("%d requests reached a kubelet with a wrong certificate", served)
				}
				if err := c.check(err); err != nil {
					t.Error(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			caller, err := io.ReadAll(response.Body)
			if err != nil || string(caller) != harness.KubeletClientName {
				t.Errorf("the kubelet saw caller %q, error %v", caller, err)
			}
		})
	}
}

// refusal requires that an error is a verification error of the given kind.
func refusal[Kind error](err error) error {
	var kind Kind
	if !errors.As(err, &kind) {
		return fmt.Errorf("expected %T, got: %v", kind, err)
	}
	return nil
}

// The caller's certificate decides at the kubelet as it does without a tunnel,
// and the kubelet's reason reaches the caller. No request is sent: one that is
// under way when the kubelet closes makes its kernel send a reset, which races
// with the alert on any network.
func KubeletRefusesStrangers(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	// Of the same name: a client keeps back certificates of authorities that
	// the server did not name.
	ca, stranger := harness.NewCA(t, "kubernetes"), harness.NewCA(t, "kubernetes")
	server, _ := Kubelet(t, ca.KubeletServing(t, "node-1", Loopback, time.Now().Add(time.Hour)), ca, false,
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a stranger's request was served") }))
	for _, c := range []struct {
		name         string
		certificates []tls.Certificate
		alert        string
	}{
		{"other authority", []tls.Certificate{stranger.KubeletClient(t)}, "remote error: tls: unknown certificate authority"},
		{"no certificate", nil, "remote error: tls: certificate required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := tls.Client(tunnel.MustDial(t, server.Listener.Addr().String()),
				&tls.Config{RootCAs: ca.Pool(), Certificates: c.certificates, ServerName: "127.0.0.1"})
			_, err := conn.Read(make([]byte, 1))
			if err == nil || err.Error() != c.alert {
				t.Errorf("expected %q, got: %v", c.alert, err)
			}
		})
	}
}

// Many concurrent HTTP/2 streams, both directions, over one tunnel.
func HTTP2(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	ca := harness.NewCA(t, "kubernetes")
	server, listener := Kubelet(t, ca.KubeletServing(t, "node-1", Loopback, time.Now().Add(time.Hour)), ca, true,
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				http.Error(w, r.Proto, http.StatusHTTPVersionNotSupported)
				return
			}
			harness.Payloads(w, r)
		}))
	transport := tunnel.Transport(t, ApiserverTLS(t, ca))
	transport.ForceAttemptHTTP2 = true
	client := &http.Client{Transport: transport, Timeout: harness.RequestLimit}
	// The first request makes the connection that the others then share.
	if err := harness.Fetch(client, server.URL, 0, 1000); err != nil {
		t.Fatal(err)
	}
	var streams errgroup.Group
	for stream := range uint64(40) {
		streams.Go(func() error {
			if stream%2 == 0 {
				return harness.Fetch(client, server.URL, stream, harness.Mebibyte)
			}
			return harness.Store(client, server.URL, stream, harness.Mebibyte)
		})
	}
	if err := streams.Wait(); err != nil {
		t.Error(err)
	}
	if n := listener.Accepted.Load(); n != 1 {
		t.Errorf("HTTP/2 used %d connections", n)
	}
}

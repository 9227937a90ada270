package suite

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"adit.test/counterparts/harness"
)

// countingServer serves payloads and counts the connections it accepts.
func countingServer(t *testing.T, address string) (base string, accepted func() int64) {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	counting := &CountingListener{Listener: listener}
	server := httptest.NewUnstartedServer(http.HandlerFunc(harness.Payloads))
	server.Listener.Close()
	server.Listener = counting
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return "http://" + net.JoinHostPort(host, port), counting.Accepted.Load
}

// Every form of address that kube-apiserver dials: IPv4, a name that the agent
// has to resolve, IPv6 in brackets.
func PlainHTTP(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	for _, host := range []string{"127.0.0.1", "localhost", "::1"} {
		t.Run(host, func(t *testing.T) {
			base, accepted := countingServer(t, net.JoinHostPort(host, "0"))
			client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
			for request := range 50 {
				if err := harness.Fetch(client, base, uint64(request), 1000); err != nil {
					t.Fatal(err)
				}
			}
			if n := accepted(); n != 1 {
				t.Errorf("50 requests with keep-alive used %d connections", n)
			}
		})
	}
}

// Ten bodies of 2 MiB each way over one kept connection.
func HTTPBodies(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	base, accepted := countingServer(t, "127.0.0.1:0")
	client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
	for body := range uint64(10) {
		if err := harness.Fetch(client, base, 2*body, 2*harness.Mebibyte); err != nil {
			t.Fatalf("body %d: %v", body, err)
		}
		if err := harness.Store(client, base, 2*body+1, 2*harness.Mebibyte); err != nil {
			t.Fatalf("body %d: %v", body, err)
		}
	}
	if n := accepted(); n != 1 {
		t.Errorf("20 requests with keep-alive used %d connections", n)
	}
}

// A body that comes back while it is still being sent: both directions of one
// connection busy at once.
func HTTPFullDuplex(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	base, _ := countingServer(t, "127.0.0.1:0")
	client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
	const seed, size = 77, 8 * harness.Mebibyte
	response, err := client.Post(base+"/", "application/octet-stream", harness.NewPayload(seed, size))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := harness.CheckPayload(response.Body, seed, size); err != nil {
		t.Fatal(err)
	}
	if err := harness.CheckEOF(response.Body); err != nil {
		t.Fatal(err)
	}
}

// A target that closes an idle connection closes it at the client too, so that
// the next request takes a new one instead of failing.
func TargetClosesKeptConnection(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	server := httptest.NewServer(http.HandlerFunc(harness.Payloads))
	defer server.Close()
	client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
	conn := tunnel.MustDial(t, server.Listener.Addr().String())
	if _, err := fmt.Fprintf(conn, "GET /?seed=1&bytes=0 HTTP/1.1\r\nHost: target\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 15)
	if _, err := conn.Read(head); err != nil || string(head) != "HTTP/1.1 200 OK" {
		t.Fatalf("read %q, %v", head, err)
	}
	if err := harness.Fetch(client, server.URL, 2, 1000); err != nil {
		t.Fatal(err)
	}
	server.CloseClientConnections()
	for {
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				t.Fatal("the target closed, the client's connection stayed open")
			}
			break
		}
	}
	if err := harness.Fetch(client, server.URL, 3, 1000); err != nil {
		t.Fatalf("the request after the target closed its connections: %v", err)
	}
}

package harness

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"

	"adit.test/counterparts/harness/packet"
)

// egressConfiguration is the file that kube-apiserver is given as
// --egress-selector-config-file.
const egressConfiguration = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: %s
    transport:
      %s
`

// WriteEgressConfiguration writes that file into dir and returns its path.
func WriteEgressConfiguration(t testing.TB, dir string, frontend Frontend) string {
	t.Helper()
	path := filepath.Join(dir, "egress.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, egressConfiguration, frontend.ProxyProtocol, frontend.Selection()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clusterDialer goes the way kube-apiserver goes at its start: it reads and
// validates the configuration file and looks the `cluster` dialer up.
func clusterDialer(t testing.TB, dir string, frontend Frontend) utilnet.DialFunc {
	t.Helper()
	path := WriteEgressConfiguration(t, dir, frontend)
	configuration, err := egressselector.ReadEgressSelectorConfiguration(path)
	if err != nil {
		t.Fatal(err)
	}
	if problems := egressselector.ValidateEgressSelectorConfiguration(configuration); len(problems) > 0 {
		t.Fatal(problems.ToAggregate())
	}
	selector, err := egressselector.NewEgressSelector(configuration)
	if err != nil {
		t.Fatal(err)
	}
	dial, err := selector.Lookup(egressselector.Cluster.AsNetworkContext())
	if err != nil {
		t.Fatal(err)
	}
	if dial == nil {
		t.Fatal("the egress selector has no dialer for `cluster`")
	}
	return dial
}

// DialWithin dials address through the tunnel. The egress dialer itself waits
// for the answer to a CONNECT without a limit; here the lack of an answer is an
// error. The connection carries a deadline, so that a lost byte fails its
// test rather than hanging it.
func (tunnel *Tunnel) DialWithin(limit time.Duration, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, 1)
	go func() {
		conn, err := tunnel.Dial(context.Background(), "tcp", address)
		results <- result{conn, err}
	}()
	select {
	case r := <-results:
		if r.err != nil {
			return nil, r.err
		}
		if tunnel.Frontend.ProxyProtocol == "GRPC" {
			return limitLife(r.conn), nil
		}
		return r.conn, r.conn.SetDeadline(time.Now().Add(connectionLimit))
	case <-time.After(limit):
		return nil, fmt.Errorf("dialing %s: no answer within %v", address, limit)
	}
}

// mortal is a connection without deadlines that is closed when its time is over.
type mortal struct {
	net.Conn
	timer *time.Timer
}

// limitLife stands in for SetDeadline, which konnectivity-client does not have.
func limitLife(conn net.Conn) net.Conn {
	return &mortal{Conn: conn, timer: time.AfterFunc(connectionLimit, func() { conn.Close() })}
}

// Close implements net.Conn.
func (m *mortal) Close() error {
	m.timer.Stop()
	return packet.Close(m.Conn)
}

// MustDial is DialWithin for dials that are no question of the test.
func (tunnel *Tunnel) MustDial(t testing.TB, address string) Conn {
	t.Helper()
	conn, err := tunnel.DialWithin(dialLimit, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	whole, ok := conn.(Conn)
	if !ok {
		t.Fatalf("the egress dialer returned a %T", conn)
	}
	return whole
}

// Transport is an HTTP transport whose connections all go through the tunnel.
func (tunnel *Tunnel) Transport(t testing.TB, config *tls.Config) *http.Transport {
	transport := &http.Transport{
		DialContext:     tunnel.Dial,
		TLSClientConfig: config,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

const (
	// dialLimit bounds dials that have no reason to take long.
	dialLimit = 10 * time.Second
	// connectionLimit bounds the life of a connection in a test.
	connectionLimit = 60 * time.Second
	// RequestLimit bounds one HTTP request in a test.
	RequestLimit = 60 * time.Second
)

package harness

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// Transport is a way by which kube-apiserver reaches the server's frontend.
type Transport string

const (
	// UDS is HTTPConnect over a Unix socket.
	UDS Transport = "uds"
	// TCP is HTTPConnect over TCP with certificates of both sides; the server
	// has its Unix socket beside it.
	TCP Transport = "tcp"
	// GRPC is GRPC over a Unix socket, the only transport that kube-apiserver
	// has for it.
	GRPC Transport = "grpc"
)

// Transports lists the transports of HTTPConnect that this run is about: all, or
// only the one that the tests' double has.
func Transports() []Transport {
	if os.Getenv("ADIT_DOUBLE") != "" {
		return []Transport{UDS}
	}
	return []Transport{UDS, TCP}
}

// OverEach runs a test once for each transport.
func OverEach(t *testing.T, test func(*testing.T, Transport)) {
	for _, via := range Transports() {
		t.Run(string(via), func(t *testing.T) { test(t, via) })
	}
}

// WaitOverEach is OverEach for tests that mostly wait: they wait together, and
// with other parallel tests.
func WaitOverEach(t *testing.T, test func(*testing.T, Transport)) {
	t.Parallel()
	for _, via := range Transports() {
		t.Run(string(via), func(t *testing.T) {
			t.Parallel()
			test(t, via)
		})
	}
}

// Frontend is where a server's frontend listens.
type Frontend struct {
	// UDSName is the path of the Unix socket.
	UDSName string
	// TCPPort is the port on 127.0.0.1, zero where there is none.
	TCPPort int
	// ProxyProtocol is what it is spoken to in, as EgressSelectorConfiguration
	// calls it.
	ProxyProtocol string
}

// NewFrontend chooses a place for a frontend of a server with this directory.
func NewFrontend(t testing.TB, dir string, via Transport) Frontend {
	t.Helper()
	frontend := Frontend{UDSName: filepath.Join(dir, "frontend.sock"), ProxyProtocol: "HTTPConnect"}
	if via == GRPC {
		frontend.ProxyProtocol = "GRPC"
	}
	if via == TCP {
		frontend.TCPPort = FreePort(t)
	}
	return frontend
}

// Flags are the server's flags for this frontend.
func (f Frontend) Flags() []string {
	mode := "http-connect"
	if f.ProxyProtocol == "GRPC" {
		mode = "grpc"
	}
	flags := []string{"--uds-name", f.UDSName, "--server-port", fmt.Sprint(f.TCPPort), "--mode", mode}
	if f.TCPPort != 0 {
		flags = append(flags, "--server-bind-address", "127.0.0.1",
			"--server-cert", Cert("server.crt"), "--server-key", Cert("server.key"), "--server-ca-cert", Cert("ca.crt"))
	}
	return flags
}

// Selection is the connection of an EgressSelectorConfiguration that leads to
// this frontend: by TCP where it listens there.
func (f Frontend) Selection() string {
	if f.TCPPort == 0 {
		return fmt.Sprintf("uds:\n        udsName: %s", f.UDSName)
	}
	return fmt.Sprintf(`tcp:
        url: https://127.0.0.1:%d
        tlsConfig:
          caBundle: %s
          clientCert: %s
          clientKey: %s`, f.TCPPort, Cert("ca.crt"), Cert("frontend.crt"), Cert("frontend.key"))
}

// Connect opens a connection to the frontend without any client in between.
func (f Frontend) Connect() (Conn, error) {
	if f.TCPPort == 0 {
		conn, err := net.Dial("unix", f.UDSName)
		if err != nil {
			return nil, err
		}
		return conn.(*net.UnixConn), nil
	}
	certificate, err := tls.LoadX509KeyPair(Cert("frontend.crt"), Cert("frontend.key"))
	if err != nil {
		return nil, err
	}
	roots, err := certPool(Cert("ca.crt"))
	if err != nil {
		return nil, err
	}
	return tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.TCPPort),
		&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}})
}

// Conn is a connection whose two directions end separately: what the egress
// dialer returns over either transport.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Package serverdouble stands in for Konnectivity's Go server, which is not to
// be had as a module: agents connect to it over TLS with /AgentService/Connect,
// and what kube-apiserver would ask for goes through them, by /ProxyService/Proxy
// in a connection within this process (Dial) or packet by packet (Wire).
//
// It has the Go server's manners, the bad ones among them: the receive loop of
// an agent blocks on one slow client, pending dials of a lost agent are not
// failed, and numbers are looked up by agent. What it does wrong beyond that is
// asked for by a test: Trouble for the whole server, Wire for one connection.
// Deliberately absent: HTTP CONNECT, routing by destination, leases, metrics.
package serverdouble

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness/packet"
)

// Options say what a server is.
type Options struct {
	// Address is where agents connect, a free port of 127.0.0.1 if empty.
	Address string
	// TLS has the certificate, and what agents' certificates are signed by.
	TLS *tls.Config
	// ID is the server's name, Count how many servers it says there are (zero
	// is sent as such).
	ID    string
	Count int
	// Token is what agents have to send as bearer token, unless it is empty.
	Token string
}

// Server is a running double.
type Server struct {
	// Address is where agents connect.
	Address string
	// Received counts the packets from agents, Sent those to them.
	Received, Sent packet.Tally
	// Refused counts the agents' calls that were turned away.
	Refused atomic.Int64

	options Options
	agents  *grpc.Server
	front   *grpc.Server
	inside  *bufconn.Listener

	mutex    sync.Mutex
	trouble  Trouble
	backends []*backend
	pending  map[int64]*pending
	stray    []*packet.Packet
	endings  []error
	raws     map[net.Conn]struct{}
}

// insideBytes is the buffer of Dial's connection.
const insideBytes = 256 << 10

// Start listens for agents and ends with the test.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	address := options.Address
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Address: listener.Addr().String(), options: options, inside: bufconn.Listen(insideBytes),
		pending: map[int64]*pending{}, raws: map[net.Conn]struct{}{},
	}
	s.agents = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(options.TLS)),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Hour, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}))
	s.agents.RegisterService(&agentService, s)
	s.front = grpc.NewServer()
	client.RegisterProxyServiceServer(s.front, proxyService{server: s})
	go func() { _ = s.agents.Serve(&noting{Listener: listener, server: s}) }()
	go func() { _ = s.front.Serve(s.inside) }()
	t.Cleanup(s.Stop)
	return s
}

// Stop ends every connection without a word, as a killed process would.
func (s *Server) Stop() {
	s.agents.Stop()
	s.front.Stop()
}

// ServeFrontend takes kube-apiserver's connections from a listener, which it
// closes with the server.
func (s *Server) ServeFrontend(listener net.Listener) {
	go func() { _ = s.front.Serve(listener) }()
}

// Dial goes the way of kube-apiserver: konnectivity-client's tunnel for a single
// use, whose gRPC connection lies within this process.
func (s *Server) Dial(ctx context.Context, address string) (net.Conn, error) {
	tunnel, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(ctx, context.Background(), "passthrough:///double",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.inside.DialContext(ctx)
		}))
	if err != nil {
		return nil, err
	}
	return tunnel.DialContext(ctx, "tcp", address)
}

// Agents lists the names of connected agents, oldest first; an agent with two
// streams is there twice.
func (s *Server) Agents() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	names := make([]string, 0, len(s.backends))
	for _, b := range s.backends {
		names = append(names, b.id)
	}
	return names
}

// Identifiers are what the connected agents claim to serve, oldest first.
func (s *Server) Identifiers() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	claims := make([]string, 0, len(s.backends))
	for _, b := range s.backends {
		claims = append(claims, b.identifiers)
	}
	return claims
}

// Draining is how many connected agents have sent DRAIN.
func (s *Server) Draining() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	draining := 0
	for _, b := range s.backends {
		if b.draining {
			draining++
		}
	}
	return draining
}

// Pending is how many dials have no answer yet.
func (s *Server) Pending() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.pending)
}

// Established is how many connections there are.
func (s *Server) Established() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	count := 0
	for _, b := range s.backends {
		count += len(b.established)
	}
	return count
}

// Stray are the packets from agents that belong to no dial and no connection,
// oldest first.
func (s *Server) Stray() []*packet.Packet {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.stray)
}

// Endings are the errors by which agents' streams ended, oldest first.
func (s *Server) Endings() []error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.endings)
}

// choose takes the oldest stream of an agent that does not drain or, if all do,
// the oldest of all.
func (s *Server) choose() *backend {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, b := range s.backends {
		if !b.draining {
			return b
		}
	}
	if len(s.backends) > 0 {
		return s.backends[0]
	}
	return nil
}

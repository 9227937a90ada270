package serverdouble

import (
	"net"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Trouble is what is wrong with a whole server, from the next call or packet of
// an agent on.
type Trouble int

// What may be wrong.
const (
	// None is the Go server's own manner.
	None Trouble = iota
	// Refusing ends agents' calls with a status, as a wrong token would.
	Refusing
	// Headless ends no call, but sends no headers either.
	Headless
	// Nameless leaves the server's name out of the headers.
	Nameless
	// Countless sends something else than a number as the servers' count.
	Countless
	// Deaf reads nothing more from agents.
	Deaf
)

// SetTrouble changes what is wrong with the server.
func (s *Server) SetTrouble(trouble Trouble) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.trouble = trouble
}

func (s *Server) troubled() Trouble {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.trouble
}

// refusal is what a refused agent is told.
var refusal = status.Error(codes.Unknown, "lookup failed: the token is not valid")

// GoAway sends GOAWAY to all agents and takes no new ones; their calls go on
// until the agents end them.
func (s *Server) GoAway() { go s.agents.GracefulStop() }

// Cut ends the connections of all agents without a word; they may come again.
func (s *Server) Cut() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for raw := range s.raws {
		raw.Close()
	}
}

// End ends the calls of all agents with success, as a server does that retires
// them; their connections stay.
func (s *Server) End() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, b := range s.backends {
		b.retire()
	}
}

// noting is a listener that keeps what it accepts at hand.
type noting struct {
	net.Listener
	server *Server
}

type noted struct {
	net.Conn
	server *Server
}

func (n *noting) Accept() (net.Conn, error) {
	raw, err := n.Listener.Accept()
	if err != nil {
		return nil, err
	}
	n.server.mutex.Lock()
	defer n.server.mutex.Unlock()
	n.server.raws[raw] = struct{}{}
	return noted{Conn: raw, server: n.server}, nil
}

func (n noted) Close() error {
	n.server.mutex.Lock()
	delete(n.server.raws, n.Conn)
	n.server.mutex.Unlock()
	return n.Conn.Close()
}

package serverdouble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"adit.test/counterparts/harness/packet"
)

// Wire is a client that a test plays packet by packet: it sends what a server
// never would, and sees what an agent answers to it.
type Wire struct {
	server  *Server
	backend *backend
	// Packets has what the agent sent for this client's dials and connections;
	// a test that does not read it stops the agent's receive loop when it is
	// full.
	Packets chan *packet.Packet
}

// wirePacketsMax is how much a test may leave unread.
const wirePacketsMax = 256

// wireLimit bounds the wait for an answer.
const wireLimit = 10 * time.Second

// Wire opens one through the agent that a dial would go to.
func (s *Server) Wire() (*Wire, error) {
	b := s.choose()
	if b == nil {
		return nil, errors.New("no agent")
	}
	return &Wire{server: s, backend: b, Packets: make(chan *packet.Packet, wirePacketsMax)}, nil
}

func (w *Wire) deliver(p *packet.Packet) error {
	select {
	case w.Packets <- p:
		return nil
	case <-w.backend.stream.Context().Done():
		return w.backend.alive()
	}
}

// Send sends a packet to the agent as it is.
func (w *Wire) Send(p *packet.Packet) error { return w.backend.send(p) }

// Request sends a DIAL_REQ and returns its name.
func (w *Wire) Request(address string) (random int64, err error) {
	random = rand.Int64()
	return random, w.backend.request(packet.DialReq(random, address), w)
}

// Dial makes a connection and returns its number.
func (w *Wire) Dial(address string) (id int64, err error) {
	random, err := w.Request(address)
	if err != nil {
		return 0, err
	}
	p, err := w.Next()
	if err != nil {
		return 0, err
	}
	response := p.GetDialResponse()
	switch {
	case response == nil || response.Random != random:
		return 0, fmt.Errorf("expected the answer to dial %d, got %v", random, p)
	case response.Error != "":
		return 0, errors.New(response.Error)
	case response.ConnectID == 0:
		return 0, errors.New("the connection's number is 0")
	}
	return response.ConnectID, nil
}

// Next is the next packet from the agent.
func (w *Wire) Next() (*packet.Packet, error) {
	select {
	case p := <-w.Packets:
		return p, nil
	case <-w.backend.stream.Context().Done():
		return nil, fmt.Errorf("the agent is gone: %w", w.backend.alive())
	case <-time.After(wireLimit):
		return nil, fmt.Errorf("no packet within %v", wireLimit)
	}
}

// Bytes reads DATA of a connection until so many bytes have come.
func (w *Wire) Bytes(id int64, count int) ([]byte, error) {
	var got []byte
	for len(got) < count {
		p, err := w.Next()
		if err != nil {
			return got, err
		}
		data := p.GetData()
		if data == nil || data.ConnectID != id {
			return got, fmt.Errorf("after %d of %d bytes: expected DATA of connection %d, got %v", len(got), count, id, p)
		}
		got = append(got, data.Data...)
	}
	return got, nil
}

// Close forgets the client: what the agent sends for it from now on is stray,
// and the agent is told as if the client's stream had ended.
func (w *Wire) Close() { w.server.end(w) }

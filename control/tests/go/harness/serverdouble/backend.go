package serverdouble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness/packet"
)

// agentService is what konnectivity-client's generated code does not have.
var agentService = grpc.ServiceDesc{
	ServiceName: "AgentService",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName:    "Connect",
		Handler:       func(server any, stream grpc.ServerStream) error { return server.(*Server).connect(stream) },
		ServerStreams: true,
		ClientStreams: true,
	}},
}

// frontend is where the packets of a connection go.
type frontend interface {
	// deliver hands a packet over; it may block, and the agent's receive loop
	// with it.
	deliver(*packet.Packet) error
}

// pending is a dial without an answer.
type pending struct {
	frontend frontend
	backend  *backend
}

// backend is one agent's stream.
type backend struct {
	server      *Server
	id          string
	identifiers string
	stream      grpc.ServerStream
	sends       sync.Mutex
	retired     chan struct{}
	retireOnce  sync.Once

	// Guarded by the server's mutex.
	draining    bool
	established map[int64]frontend
}

// connect serves an agent's call.
func (s *Server) connect(stream grpc.ServerStream) error {
	b, err := s.identify(stream)
	if err == nil && s.troubled() == Refusing {
		err = refusal
	}
	if err != nil {
		s.Refused.Add(1)
		return err
	}
	if err := s.greet(stream); err != nil {
		return err
	}
	s.mutex.Lock()
	s.backends = append(s.backends, b)
	s.mutex.Unlock()
	received := make(chan error, 1)
	go func() { received <- b.receive() }()
	select {
	case err = <-received:
	case <-b.retired:
	case <-stream.Context().Done():
		// The loop may be blocked on a client.
		err = stream.Context().Err()
	}
	b.leave(err)
	return err
}

// identify reads who calls.
func (s *Server) identify(stream grpc.ServerStream) (*backend, error) {
	pairs, _ := metadata.FromIncomingContext(stream.Context())
	ids, identifiers := pairs.Get("agentID"), pairs.Get("agentIdentifiers")
	if len(ids) != 1 || len(identifiers) > 1 {
		return nil, fmt.Errorf("expected one agentid and at most one agentidentifiers, got %q and %q", ids, identifiers)
	}
	if s.options.Token != "" && !slices.Equal(pairs.Get("authorization"), []string{"Bearer " + s.options.Token}) {
		return nil, refusal
	}
	b := &backend{
		server: s, id: ids[0], stream: stream,
		retired: make(chan struct{}), established: map[int64]frontend{},
	}
	if len(identifiers) == 1 {
		b.identifiers = identifiers[0]
	}
	return b, nil
}

// greet sends the headers, before the agent can be chosen.
func (s *Server) greet(stream grpc.ServerStream) error {
	pairs := metadata.Pairs("serverID", s.options.ID, "serverCount", strconv.Itoa(s.options.Count))
	switch s.troubled() {
	case Headless:
		<-stream.Context().Done()
		return stream.Context().Err()
	case Nameless:
		pairs.Delete("serverID")
	case Countless:
		pairs.Set("serverCount", "some")
	}
	return stream.SendHeader(pairs)
}

func (b *backend) send(p *packet.Packet) error {
	b.sends.Lock()
	defer b.sends.Unlock()
	b.server.Sent.Add(p)
	return b.stream.SendMsg(p)
}

func (b *backend) retire() { b.retireOnce.Do(func() { close(b.retired) }) }

// leave takes the agent out and ends its connections; pending dials stay.
func (b *backend) leave(err error) {
	s := b.server
	s.mutex.Lock()
	s.backends = slices.DeleteFunc(s.backends, func(other *backend) bool { return other == b })
	established := b.established
	b.established = map[int64]frontend{}
	s.endings = append(s.endings, err)
	s.mutex.Unlock()
	for id, f := range established {
		_ = f.deliver(packet.CloseRsp(id, ""))
	}
}

// receive is the loop that everything from this agent goes through.
func (b *backend) receive() error {
	for {
		if b.server.troubled() == Deaf {
			<-b.stream.Context().Done()
			return b.stream.Context().Err()
		}
		p := &client.Packet{}
		if err := b.stream.RecvMsg(p); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		b.server.Received.Add(p)
		b.handle(p)
	}
}

func (b *backend) handle(p *packet.Packet) {
	s := b.server
	switch p.Type {
	case client.PacketType_DIAL_RSP:
		b.handleDialRsp(p)
	case client.PacketType_DIAL_CLS:
		if dial := s.settle(p.GetCloseDial().Random); dial != nil {
			_ = dial.frontend.deliver(p)
		} else {
			s.strays(p)
		}
	case client.PacketType_DATA:
		id := p.GetData().ConnectID
		if id == 0 {
			s.strays(p)
		} else if f := b.find(id); f != nil {
			_ = f.deliver(p)
		} else {
			s.strays(p)
			_ = b.send(packet.CloseReq(id))
		}
	case client.PacketType_CLOSE_RSP:
		id := p.GetCloseResponse().ConnectID
		f := b.find(id)
		s.mutex.Lock()
		delete(b.established, id)
		s.mutex.Unlock()
		if f != nil {
			_ = f.deliver(p)
		} else {
			s.strays(p)
		}
	case client.PacketType_DRAIN:
		s.mutex.Lock()
		b.draining = true
		s.mutex.Unlock()
	default:
		s.strays(p)
	}
}

// handleDialRsp hands the answer on before the connection is established; one
// that nobody waits for closes what it stands for.
func (b *backend) handleDialRsp(p *packet.Packet) {
	response := p.GetDialResponse()
	dial := b.server.settle(response.Random)
	if dial == nil {
		b.server.strays(p)
		if response.ConnectID != 0 {
			_ = b.send(packet.CloseReq(response.ConnectID))
		}
		return
	}
	err := dial.frontend.deliver(p)
	if response.Error != "" {
		return
	}
	if err != nil {
		_ = b.send(packet.CloseReq(response.ConnectID))
		return
	}
	b.server.mutex.Lock()
	defer b.server.mutex.Unlock()
	b.established[response.ConnectID] = dial.frontend
}

func (b *backend) find(id int64) frontend {
	b.server.mutex.Lock()
	defer b.server.mutex.Unlock()
	return b.established[id]
}

func (s *Server) strays(p *packet.Packet) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.stray = append(s.stray, p)
}

// settle takes a dial out of the table of those that wait.
func (s *Server) settle(random int64) *pending {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	dial := s.pending[random]
	delete(s.pending, random)
	return dial
}

// request registers a dial and asks the agent for it.
func (b *backend) request(p *packet.Packet, f frontend) error {
	b.server.mutex.Lock()
	b.server.pending[p.GetDialRequest().Random] = &pending{frontend: f, backend: b}
	b.server.mutex.Unlock()
	return b.send(p)
}

// end is what is left to say when a client's stream has ended: of each of its
// dials and of each of its connections.
func (s *Server) end(f frontend) {
	s.mutex.Lock()
	var last []func()
	for random, dial := range s.pending {
		if dial.frontend == f {
			delete(s.pending, random)
			last = append(last, func() { _ = dial.backend.send(packet.DialCls(random)) })
		}
	}
	for _, b := range s.backends {
		for id, owner := range b.established {
			if owner == f {
				delete(b.established, id)
				last = append(last, func() { _ = b.send(packet.CloseReq(id)) })
			}
		}
	}
	s.mutex.Unlock()
	for _, say := range last {
		say()
	}
}

// alive says whether the agent's stream still is.
func (b *backend) alive() error { return context.Cause(b.stream.Context()) }

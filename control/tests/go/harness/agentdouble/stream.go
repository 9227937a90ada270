package agentdouble

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness/packet"
)

// The Go agent's fixed figures.
const (
	dialTimeMax     = 5 * time.Second
	readBytes       = 4 << 10
	queuePacketsMax = 150
)

// stream is one server: a gRPC connection with one call on it.
type stream struct {
	agent  *Agent
	ctx    context.Context
	cancel context.CancelFunc
	cc     *grpc.ClientConn
	call   grpc.ClientStream
	sends  sync.Mutex
	dials  sync.WaitGroup

	mutex  sync.Mutex
	raw    net.Conn
	conns  map[int64]*conn
	lastID int64
}

// begin connects, calls, and reads who answers and how many servers there are.
func (s *stream) begin(pairs metadata.MD) (serverID string, count int, err error) {
	if s.cc, err = s.dialServer(); err != nil {
		return "", 0, err
	}
	s.call, err = s.cc.NewStream(metadata.NewOutgoingContext(s.ctx, pairs), &packet.Stream, packet.ConnectMethod)
	if err != nil {
		return "", 0, err
	}
	// Without a limit, as the Go agent does.
	header, err := s.call.Header()
	if err != nil {
		return "", 0, err
	}
	ids, counts := header.Get("serverID"), header.Get("serverCount")
	if len(ids) != 1 || len(counts) != 1 {
		if len(ids)+len(counts) == 0 {
			// A call that was refused has neither; its status says why.
			if refusal := s.call.RecvMsg(&client.Packet{}); refusal != nil {
				return "", 0, refusal
			}
		}
		return "", 0, fmt.Errorf("expected one serverid and one servercount, got %q and %q", ids, counts)
	}
	count, err = strconv.Atoi(counts[0])
	return ids[0], count, err
}

func (s *stream) dialRaw(ctx context.Context, address string) (net.Conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.raw = raw
	return raw, nil
}

// cut ends the connection to the server without a word.
func (s *stream) cut() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.raw.Close()
}

// close ends the call and its connection.
func (s *stream) close() {
	s.cancel()
	if s.cc != nil {
		s.cc.Close()
	}
}

// send is what all goroutines of a stream share.
func (s *stream) send(p *packet.Packet) error {
	s.sends.Lock()
	defer s.sends.Unlock()
	s.agent.Sent.Add(p)
	return s.call.SendMsg(p)
}

func (s *stream) open() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.conns)
}

// serve takes packets until the stream ends, and then closes what it served.
func (s *stream) serve() error {
	err := s.receive()
	s.close()
	s.dials.Wait()
	s.mutex.Lock()
	left := s.conns
	s.conns = map[int64]*conn{}
	s.mutex.Unlock()
	for _, c := range left {
		c.abandon()
	}
	return err
}

// receive is the loop that everything of this server goes through; what blocks
// it blocks everybody.
func (s *stream) receive() error {
	for {
		p := &client.Packet{}
		if err := s.call.RecvMsg(p); err != nil {
			return err
		}
		s.agent.Received.Add(p)
		if s.handle(p) {
			<-s.ctx.Done()
			return errors.New("the double had stopped reading")
		}
	}
}

// handle says whether the double is to stop reading.
func (s *stream) handle(p *packet.Packet) (stop bool) {
	switch p.Type {
	case client.PacketType_DIAL_REQ:
		request := p.GetDialRequest()
		manner, _ := mannerOf(request.Address)
		if manner == Deaf || s.agent.options.Deaf {
			return true
		}
		s.dials.Add(1)
		go func() {
			defer s.dials.Done()
			s.dial(request)
		}()
	case client.PacketType_DATA:
		data := p.GetData()
		if data.ConnectID == 0 {
			return false
		}
		if c := s.find(data.ConnectID); c == nil {
			_ = s.send(packet.CloseRsp(data.ConnectID, "unrecognized connectID"))
		} else {
			c.push(data.Data)
		}
	case client.PacketType_CLOSE_REQ:
		id := p.GetCloseRequest().ConnectID
		if c := s.find(id); c == nil {
			_ = s.send(packet.CloseRsp(id, "Unknown connectID"))
		} else {
			c.close()
			<-c.over
		}
	}
	return false
}

func (s *stream) find(id int64) *conn {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.conns[id]
}

// nextID numbers connections from 1.
func (s *stream) nextID() int64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.lastID++
	return s.lastID
}

package serverdouble

import (
	"errors"
	"io"
	"sync"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness/packet"
)

// proxyService is the side of kube-apiserver.
type proxyService struct {
	client.UnimplementedProxyServiceServer
	server *Server
}

// proxyCall is one Proxy call: one dial, one connection.
type proxyCall struct {
	server  *Server
	stream  client.ProxyService_ProxyServer
	sends   sync.Mutex
	backend *backend
	// The number that the client used first, zero before.
	connectID int64
}

func (c *proxyCall) deliver(p *packet.Packet) error {
	c.sends.Lock()
	defer c.sends.Unlock()
	return c.stream.Send(p)
}

// Proxy implements client.ProxyServiceServer.
func (p proxyService) Proxy(stream client.ProxyService_ProxyServer) error {
	c := &proxyCall{server: p.server, stream: stream}
	defer p.server.end(c)
	stopped := false
	for {
		received, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// What comes after the last packet that counts is thrown away; the call
		// goes on until the client ends it.
		stopped = stopped || c.handle(received)
	}
}

// handle says whether what follows does not count any more.
func (c *proxyCall) handle(p *packet.Packet) (stop bool) {
	switch p.Type {
	case client.PacketType_DIAL_REQ:
		return c.dial(p)
	case client.PacketType_DIAL_CLS:
		// The agent does not hear of it: its late answer is unknown by then.
		c.server.settle(p.GetCloseDial().Random)
	case client.PacketType_DATA:
		return c.data(p)
	case client.PacketType_CLOSE_REQ:
		id := p.GetCloseRequest().ConnectID
		if c.backend == nil {
			_ = c.deliver(packet.CloseRsp(id, "backend uninitialized"))
		} else if c.backend.send(p) != nil {
			_ = c.deliver(packet.CloseRsp(id, "CLOSE_REQ to backend failed"))
		}
		return true
	}
	return false
}

func (c *proxyCall) dial(p *packet.Packet) (stop bool) {
	random := p.GetDialRequest().Random
	c.backend = c.server.choose()
	if c.backend == nil {
		_ = c.deliver(packet.DialRsp(random, 0, "No agent available"))
		return true
	}
	if err := c.backend.request(p, c); err != nil {
		c.server.settle(random)
		_ = c.deliver(packet.DialRsp(random, 0, err.Error()))
		return true
	}
	return false
}

func (c *proxyCall) data(p *packet.Packet) (stop bool) {
	id := p.GetData().ConnectID
	switch {
	case c.backend == nil:
		_ = c.deliver(packet.CloseRsp(id, "backend not initialized"))
		return true
	case id == 0:
		return false
	case c.connectID != 0 && c.connectID != id:
		for _, each := range []int64{c.connectID, id} {
			_ = c.backend.send(packet.CloseReq(each))
			_ = c.deliver(packet.CloseRsp(each, "mismatched connection IDs"))
		}
		return true
	}
	c.connectID = id
	_ = c.backend.send(p)
	return false
}

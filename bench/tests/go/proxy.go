package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// dialTimeMax is the time that an agent's dial has.
const dialTimeMax = 5 * time.Second

// proxy is server and agent in one. The zero value is ready.
type proxy struct {
	client.UnimplementedProxyServiceServer
	calls       atomic.Int64
	connections atomic.Int64
}

// call is one Proxy call: one dial, one connection.
type call struct {
	client.ProxyService_ProxyServer
	number int64
	sends  sync.Mutex
	// What the name of the target asked for.
	manner manner
	// The end that misbehaviour asked for; the call returns it.
	over chan error

	connectID int64
	target    net.Conn
	random    int64
}

// Send serialises: packets come from the target and from the caller.
func (c *call) Send(packet *client.Packet) error {
	c.sends.Lock()
	defer c.sends.Unlock()
	return c.ProxyService_ProxyServer.Send(packet)
}

func (c *call) say(format string, arguments ...any) {
	say("%d "+format, append([]any{c.number}, arguments...)...)
}

// Proxy implements client.ProxyServiceServer.
func (p *proxy) Proxy(stream client.ProxyService_ProxyServer) error {
	c := &call{ProxyService_ProxyServer: stream, number: p.calls.Add(1), over: make(chan error, 1)}
	heads, _ := metadata.FromIncomingContext(stream.Context())
	c.say("begins authority=%v user-agent=%v", heads.Get(":authority"), heads.Get("user-agent"))
	defer c.giveUp()
	received := make(chan error, 1)
	go func() { received <- c.receive(p) }()
	var err error
	select {
	case err = <-received:
	case err = <-c.over:
	}
	c.say("ends: %v", err)
	return err
}

// receive takes packets until the caller ends the stream.
func (c *call) receive(p *proxy) error {
	for {
		packet, err := c.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch packet.Type {
		case client.PacketType_DIAL_REQ:
			request := packet.GetDialRequest()
			c.say("DIAL_REQ %s %s", request.Protocol, request.Address)
			if request.Random < 0 {
				return errors.New("a negative random")
			}
			c.random = request.Random
			if err := c.dial(p, request.Address); err != nil {
				return err
			}
		case client.PacketType_DIAL_CLS:
			c.say("DIAL_CLS ours=%t", packet.GetCloseDial().Random == c.random)
		case client.PacketType_DATA:
			data := packet.GetData()
			if c.target == nil || data.ConnectID != c.connectID {
				c.say("DATA for nobody")
				continue
			}
			// The target's pace is the stream's.
			if _, err := c.target.Write(data.Data); err != nil {
				c.say("target: %v", err)
			}
		case client.PacketType_CLOSE_REQ:
			id := packet.GetCloseRequest().ConnectID
			c.say("CLOSE_REQ ours=%t", id == c.connectID)
			if id == c.connectID && c.target != nil {
				if err := c.closeRsp(id, ""); err != nil {
					return err
				}
				c.target.Close()
			}
		default:
			c.say("unexpected %v", packet.Type)
		}
	}
}

// connect dials the target and answers; the connection is served from then on.
func (c *call) connect(p *proxy, address string) error {
	ctx, cancel := context.WithTimeout(c.Context(), dialTimeMax)
	defer cancel()
	var dialer net.Dialer
	target, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return c.dialRsp(0, err.Error())
	}
	c.target = target
	c.connectID = p.connections.Add(1)
	go func() {
		<-c.Context().Done()
		c.giveUp()
	}()
	if err := c.dialRsp(c.connectID, ""); err != nil {
		return err
	}
	go c.serve(target)
	return nil
}

// giveUp resets the target's connection where it was not closed: a caller that
// is gone must not leave behind what waits for a target that reads nothing.
func (c *call) giveUp() {
	if target, ok := c.target.(*net.TCPConn); ok {
		_ = target.SetLinger(0)
		target.Close()
	}
}

func (c *call) dialRsp(id int64, problem string) error {
	return c.Send(&client.Packet{Type: client.PacketType_DIAL_RSP, Payload: &client.Packet_DialResponse{
		DialResponse: &client.DialResponse{Random: c.random, ConnectID: id, Error: problem},
	}})
}

func (c *call) closeRsp(id int64, problem string) error {
	return c.Send(&client.Packet{Type: client.PacketType_CLOSE_RSP, Payload: &client.Packet_CloseResponse{
		CloseResponse: &client.CloseResponse{ConnectID: id, Error: problem},
	}})
}

func (c *call) data(id int64, data []byte) error {
	return c.Send(&client.Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{
		Data: &client.Data{ConnectID: id, Data: data},
	}})
}

// serve moves what the target says until its end, as an agent does.
func (c *call) serve(target net.Conn) {
	buffer := make([]byte, c.manner.chunk())
	sent := 0
	for {
		var count int
		var err error
		if c.manner.fillsChunks() {
			count, err = io.ReadFull(target, buffer)
		} else {
			count, err = target.Read(buffer)
		}
		if count > 0 {
			if c.data(c.connectID, buffer[:count]) != nil {
				return
			}
			sent += count
			if sent >= brokenAfterBytes && c.breakOff() {
				return
			}
		}
		if err != nil {
			// The agent's CLOSE_RSP has no text, whatever the reason.
			_ = c.closeRsp(c.connectID, "")
			target.Close()
			return
		}
	}
}

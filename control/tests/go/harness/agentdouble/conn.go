package agentdouble

import (
	"context"
	"net"
	"sync"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness/packet"
)

// conn is one connection to a target.
type conn struct {
	stream *stream
	id     int64
	random int64
	target net.Conn
	manner Manner

	toTarget chan []byte
	toServer chan []byte
	// closing ends the reads, over is closed when nothing is left.
	closing   chan struct{}
	closeOnce sync.Once
	over      chan struct{}
}

// dial serves a DIAL_REQ.
func (s *stream) dial(request *client.DialRequest) {
	manner, address := mannerOf(request.Address)
	if !s.beforeDial(manner, request.Random) {
		return
	}
	id := s.nextID()
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeMax)
	defer cancel()
	var dialer net.Dialer
	target, err := dialer.DialContext(ctx, request.Protocol, address)
	if err != nil {
		_ = s.send(packet.DialRsp(request.Random, 0, err.Error()))
		return
	}
	c := &conn{
		stream: s, id: id, random: request.Random, target: target, manner: manner,
		toTarget: make(chan []byte, queuePacketsMax), toServer: make(chan []byte, queuePacketsMax),
		closing: make(chan struct{}), over: make(chan struct{}),
	}
	s.mutex.Lock()
	s.conns[id] = c
	s.mutex.Unlock()
	if err := c.answer(); err != nil {
		c.close()
	}
	go c.read()
	go c.write()
	go c.forward()
}

// push queues bytes for the target; it blocks while the queue is full.
func (c *conn) push(data []byte) {
	select {
	case c.toTarget <- data:
	case <-c.closing:
	case <-c.stream.ctx.Done():
	}
}

// read queues what the target says.
func (c *conn) read() {
	defer close(c.toServer)
	for {
		buffer := make([]byte, readBytes)
		n, err := c.target.Read(buffer)
		if n > 0 {
			select {
			case c.toServer <- buffer[:n]:
			case <-c.over:
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// write hands queued bytes to the target.
func (c *conn) write() {
	for {
		select {
		case data := <-c.toTarget:
			if _, err := c.target.Write(data); err != nil {
				c.close()
				return
			}
		case <-c.closing:
			return
		}
	}
}

// forward sends queued bytes to the server and, after the last of them, the end
// of the connection.
func (c *conn) forward() {
	defer close(c.over)
	sent := 0
	for data := range c.toServer {
		if c.stream.send(packet.Data(c.id, data)) != nil {
			c.close()
			continue
		}
		before := sent
		sent += len(data)
		if before < brokenAfterBytes && sent >= brokenAfterBytes && c.breakOff() {
			c.close()
			c.forget()
			return
		}
	}
	c.forget()
	_ = c.stream.send(packet.CloseRsp(c.id, ""))
	c.afterClose()
	c.close()
}

// forget takes the connection out of the table and closes it in full.
func (c *conn) forget() {
	c.stream.mutex.Lock()
	delete(c.stream.conns, c.id)
	c.stream.mutex.Unlock()
	c.target.Close()
}

// close ends the reads, so that forward comes to its end.
func (c *conn) close() {
	c.closeOnce.Do(func() {
		close(c.closing)
		_ = c.target.SetReadDeadline(time.Unix(1, 0))
	})
}

// abandon is close where there is no server left to tell.
func (c *conn) abandon() {
	c.close()
	c.target.Close()
	<-c.over
}

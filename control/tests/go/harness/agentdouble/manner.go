package agentdouble

import (
	"net"
	"strings"
	"time"

	"adit.test/counterparts/harness/packet"
)

// Manner is what the agent does wrong with one dial: the first part of a
// target's name that ends with ".agent.test". Such a target is reached on
// 127.0.0.1; every other is treated well.
type Manner string

// What an agent may do wrong.
const (
	// Good is the Go agent's own manner.
	Good Manner = ""
	// Late answers the dial after Options.Late.
	Late Manner = "late"
	// Silent never answers the dial.
	Silent Manner = "silent"
	// Twice answers the dial twice with the same number.
	Twice Manner = "twice"
	// TwiceOther answers the dial twice, the second time with another number.
	TwiceOther Manner = "twice-other"
	// Stranger answers a dial that nobody made, and then this one.
	Stranger Manner = "stranger"
	// Unnumbered answers the dial with the number 0 and no error.
	Unnumbered Manner = "unnumbered"
	// DialClosed answers the dial with DIAL_CLS.
	DialClosed Manner = "dial-closed"
	// Early sends DATA for the connection before the dial's answer.
	Early Manner = "early"
	// Foreign sends DATA and CLOSE_RSP for connections that do not exist.
	Foreign Manner = "foreign"
	// AfterClose sends DATA and a second CLOSE_RSP behind CLOSE_RSP.
	AfterClose Manner = "after-close"
	// CloseError ends the connection amid its payload with an error's text.
	CloseError Manner = "close-error"
	// ClosedLate sends DIAL_CLS amid the payload, and then ends it well.
	ClosedLate Manner = "closed-late"
	// Cut ends the whole connection to the server amid the payload.
	Cut Manner = "cut"
	// End ends the call to the server amid the payload.
	End Manner = "end"
	// Deaf reads nothing more from this server, whoever it concerns.
	Deaf Manner = "deaf"
)

// brokenAfterBytes of payload, those break off that do so amid it.
const brokenAfterBytes = 100_000

// NobodysID is a connection's number and a dial's name that nobody gave.
const NobodysID = 1_000_000

// Address is a target's address under a name that asks for this manner; the
// target is to be on 127.0.0.1.
func (m Manner) Address(target string) string {
	_, port, err := net.SplitHostPort(target)
	if err != nil || m == Good {
		return target
	}
	return net.JoinHostPort(string(m)+".agent.test", port)
}

func mannerOf(address string) (Manner, string) {
	host, port, err := net.SplitHostPort(address)
	name, ours := strings.CutSuffix(host, ".agent.test")
	if err != nil || !ours {
		return Good, address
	}
	return Manner(name), net.JoinHostPort("127.0.0.1", port)
}

// beforeDial does what is wrong about the answer; false if there will be none.
func (s *stream) beforeDial(manner Manner, random int64) bool {
	switch manner {
	case Silent:
		return false
	case DialClosed:
		_ = s.send(packet.DialCls(random))
		return false
	case Unnumbered:
		_ = s.send(packet.DialRsp(random, 0, ""))
		return false
	case Stranger:
		_ = s.send(packet.DialRsp(NobodysID, NobodysID, ""))
		_ = s.send(packet.DialRsp(NobodysID+1, 0, "dial tcp: nobody asked"))
	case Foreign:
		_ = s.send(packet.Data(NobodysID, []byte("for somebody else")))
		_ = s.send(packet.Data(0, []byte("for nobody")))
		_ = s.send(packet.CloseRsp(NobodysID, "of somebody else"))
	case Late:
		select {
		case <-time.After(s.agent.options.Late):
		case <-s.ctx.Done():
		}
	}
	return true
}

// answer sends DIAL_RSP, as often as the manner wants.
func (c *conn) answer() error {
	if c.manner == Early {
		_ = c.stream.send(packet.Data(c.id, []byte("too early")))
	}
	if err := c.stream.send(packet.DialRsp(c.random, c.id, "")); err != nil {
		return err
	}
	switch c.manner {
	case Twice:
		return c.stream.send(packet.DialRsp(c.random, c.id, ""))
	case TwiceOther:
		return c.stream.send(packet.DialRsp(c.random, NobodysID+c.id, ""))
	}
	return nil
}

// breakOff says whether the connection is not to be served any further.
func (c *conn) breakOff() bool {
	switch c.manner {
	case CloseError:
		_ = c.stream.send(packet.CloseRsp(c.id, "the target went away"))
	case ClosedLate:
		_ = c.stream.send(packet.DialCls(c.random))
		return false
	case Cut:
		c.stream.cut()
	case End:
		c.stream.cancel()
	default:
		return false
	}
	return true
}

// afterClose sends what must not follow a CLOSE_RSP.
func (c *conn) afterClose() {
	if c.manner == AfterClose {
		_ = c.stream.send(packet.Data(c.id, []byte("after the end")))
		_ = c.stream.send(packet.CloseRsp(c.id, ""))
	}
}

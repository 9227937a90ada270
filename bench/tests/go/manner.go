package main

import (
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// manner is what is wrong with a call: the first part of a target's name that
// ends with ".test". Such a target is reached on 127.0.0.1. With "first-" in
// front it concerns the first call alone.
type manner string

const (
	good       manner = ""
	refuse     manner = "refuse"      // DIAL_RSP with an error
	silent     manner = "silent"      // no answer to the dial
	closed     manner = "closed"      // DIAL_CLS instead of an answer
	failing    manner = "status"      // the call ends with a status at once
	ending     manner = "end"         // the call ends well at once
	late       manner = "late"        // DIAL_RSP after a while
	twice      manner = "twice"       // a second DIAL_RSP
	foreign    manner = "foreign"     // packets for other connections first
	tiny       manner = "tiny"        // DATA of one byte
	big        manner = "big"         // DATA of 3 MiB
	huge       manner = "huge"        // DATA above gRPC's limit
	drop       manner = "drop"        // a status amid the payload
	quietEnd   manner = "quiet-end"   // a good status amid the payload
	cutOff     manner = "cut"         // the connection ends amid the payload
	closeError manner = "close-error" // CLOSE_RSP with an error amid the payload
	dialClosed manner = "dial-closed" // DIAL_CLS amid the payload
)

// brokenAfterBytes of payload, those break off that do so amid it.
const brokenAfterBytes = 100_000

// lateTime passes before a late answer.
const lateTime = 300 * time.Millisecond

func mannerOf(address string) (manner, string) {
	host, port, err := net.SplitHostPort(address)
	name, ours := strings.CutSuffix(host, ".test")
	if err != nil || !ours {
		return good, address
	}
	return manner(name), net.JoinHostPort("127.0.0.1", port)
}

// chunk is how much payload a DATA has at most; the Go agent's is 4 KiB.
func (m manner) chunk() int {
	switch m {
	case tiny:
		return 1
	case big:
		return 3 << 20
	case huge:
		return 5 << 20
	default:
		return 4 << 10
	}
}

func (m manner) fillsChunks() bool { return m == big || m == huge }

// dial answers a DIAL_REQ in the manner that the address asks for.
func (c *call) dial(p *proxy, address string) error {
	c.manner, address = mannerOf(address)
	if first, ok := strings.CutPrefix(string(c.manner), "first-"); ok {
		c.manner = good
		if c.number == 1 {
			c.manner = manner(first)
		}
	}
	switch c.manner {
	case refuse:
		return c.dialRsp(0, "dial tcp 10.0.0.1:80: connect: connection refused")
	case silent:
		return nil
	case closed:
		return c.dialCls()
	case failing:
		return status.Error(codes.Unavailable, "no agent: 100 % sure")
	case ending:
		c.over <- nil
		return nil
	case late:
		time.Sleep(lateTime)
	case foreign:
		if err := c.data(1_000_000, []byte("for somebody else")); err != nil {
			return err
		}
		if err := c.data(0, []byte("for nobody")); err != nil {
			return err
		}
		if err := c.closeRsp(1_000_000, "of somebody else"); err != nil {
			return err
		}
	}
	if err := c.connect(p, address); err != nil || c.manner != twice {
		return err
	}
	return c.dialRsp(c.connectID, "")
}

func (c *call) dialCls() error {
	return c.Send(&client.Packet{Type: client.PacketType_DIAL_CLS, Payload: &client.Packet_CloseDial{
		CloseDial: &client.CloseDial{Random: c.random},
	}})
}

// breakOff says whether nothing more is to be served.
func (c *call) breakOff() bool {
	switch c.manner {
	case drop:
		c.over <- status.Error(codes.Internal, "dropped")
	case quietEnd:
		c.over <- nil
	case cutOff:
		if err := cut(c.Context()); err != nil {
			c.say("cannot cut: %v", err)
		}
	case closeError:
		_ = c.closeRsp(c.connectID, "backend went away")
	case dialClosed:
		_ = c.dialCls()
	default:
		return false
	}
	return true
}

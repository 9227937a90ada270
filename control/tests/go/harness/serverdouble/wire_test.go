package serverdouble_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/packet"
	"adit.test/counterparts/harness/serverdouble"
)

// strayText requires a CLOSE_RSP of nobody's connection with this text.
func strayText(t *testing.T, server *serverdouble.Server, id int64, text string) {
	t.Helper()
	harness.MustWithin(t, limit, "the answer "+text, func() error {
		for _, p := range server.Stray() {
			if r := p.GetCloseResponse(); r != nil && r.ConnectID == id && r.Error == text {
				return nil
			}
		}
		return fmt.Errorf("strays: %v", server.Stray())
	})
}

// The agent's exact answers to what a good server never sends.
func TestWire(t *testing.T) {
	p := newPair(t)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	wire, err := p.server.Wire()
	if err != nil {
		t.Fatal(err)
	}
	id, err := wire.Dial(echo.Address)
	if err != nil || id != 1 {
		t.Fatalf("dial: connection %d, %v", id, err)
	}
	send := func(packets ...*packet.Packet) {
		t.Helper()
		for _, p := range packets {
			if err := wire.Send(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	const unknown = 77
	send(packet.Data(unknown, []byte("x")), packet.Data(0, []byte("x")), packet.DialCls(5), packet.Drain())
	strayText(t, p.server, unknown, "unrecognized connectID")
	send(packet.CloseReq(unknown))
	strayText(t, p.server, unknown, "Unknown connectID")

	text := strings.Repeat("0123456789", 1000)
	send(packet.Data(id, []byte(text)))
	if got, err := wire.Bytes(id, len(text)); err != nil || string(got) != text {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	send(packet.CloseReq(id), packet.CloseReq(id), packet.Data(id, []byte("late")))
	last, err := wire.Next()
	if err != nil || last.Type != client.PacketType_CLOSE_RSP || last.GetCloseResponse().Error != "" {
		t.Errorf("expected CLOSE_RSP without a text, got %v, %v", last, err)
	}
	strayText(t, p.server, id, "Unknown connectID")
	strayText(t, p.server, id, "unrecognized connectID")
	p.settled(t)
}

// One client that takes nothing holds up everybody of the agent: the reference's
// weakness, which the double has to have.
func TestOneStoppedClientStopsTheAgent(t *testing.T) {
	p := newPair(t)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	wire, err := p.server.Wire()
	if err != nil {
		t.Fatal(err)
	}
	id, err := wire.Dial(echo.Address)
	if err != nil {
		t.Fatal(err)
	}
	const packets = 600
	for range packets {
		if err := wire.Send(packet.Data(id, make([]byte, 4096))); err != nil {
			t.Fatal(err)
		}
	}
	harness.MustWithin(t, limit, "a full queue", func() error {
		if len(wire.Packets) < cap(wire.Packets) {
			return fmt.Errorf("%d packets", len(wire.Packets))
		}
		return nil
	})
	other, err := p.server.Wire()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Request(echo.Address); err != nil {
		t.Fatal(err)
	}
	if p.server.Pending() != 1 {
		t.Errorf("%d dials are pending", p.server.Pending())
	}
	if _, err := wire.Bytes(id, packets*4096); err != nil {
		t.Fatal(err)
	}
	if answer, err := other.Next(); err != nil || answer.Type != client.PacketType_DIAL_RSP {
		t.Errorf("expected the dial's answer, got %v, %v", answer, err)
	}
	wire.Close()
	other.Close()
	p.settled(t)
}

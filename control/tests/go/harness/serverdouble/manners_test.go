package serverdouble_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/agentdouble"
	"adit.test/counterparts/harness/packet"
	"adit.test/counterparts/harness/serverdouble"
)

// What a client sees of a dial, and what the agent hears of it.
func TestDialErrors(t *testing.T) {
	p := newPair(t)
	refusing := harness.RefusingAddress(t)
	for _, c := range []struct{ name, address, says string }{
		{"refused", refusing, "connect: connection refused"},
		{"unknown", "no-such-host.invalid:80", "no such host"},
		{"closed dial", agentdouble.DialClosed.Address(refusing), "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := p.server.Dial(context.Background(), c.address)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("expected %q, got: %v", c.says, err)
			}
		})
	}
	p.settled(t)
	p.agent.Stop()
	harness.MustWithin(t, limit, "the agent's end", func() error {
		if left := p.server.Agents(); len(left) != 0 {
			return fmt.Errorf("there are %q", left)
		}
		return nil
	})
	if _, err := p.server.Dial(context.Background(), refusing); err == nil || err.Error() != "No agent available" {
		t.Errorf("expected that there is no agent, got: %v", err)
	}
}

// A client that gives up: the answer that comes late is unknown and is closed.
func TestLateAnswer(t *testing.T) {
	for manner, answers := range map[agentdouble.Manner]int{agentdouble.Late: 1, agentdouble.Silent: 0} {
		t.Run(string(manner), func(t *testing.T) {
			p := newPair(t)
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			_, err := p.server.Dial(ctx, manner.Address(echo.Address))
			if err == nil || !strings.Contains(err.Error(), "dial timeout, context") {
				t.Errorf("expected a timeout, got: %v", err)
			}
			harness.MustWithin(t, limit, "the close of the late answer", func() error {
				if n := p.agent.Received.Of(client.PacketType_CLOSE_REQ); n != answers {
					return fmt.Errorf("the agent received %d CLOSE_REQ", n)
				}
				return nil
			})
			p.settled(t)
		})
	}
}

// What an agent does wrong about one connection leaves its others alone.
func TestManners(t *testing.T) {
	for _, manner := range []agentdouble.Manner{
		agentdouble.Late, agentdouble.Twice, agentdouble.TwiceOther, agentdouble.Stranger, agentdouble.Foreign,
		agentdouble.AfterClose, agentdouble.CloseError, agentdouble.ClosedLate, agentdouble.Early,
	} {
		t.Run(string(manner), func(t *testing.T) {
			p := newPair(t)
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			conn, err := download(t, p.server, manner, 300_000)
			if err == nil {
				// The connection itself may break or hang; that is the point.
				err = within(time.Second, func() error {
					return errors.Join(harness.CheckPayload(conn, downloadSeed, 300_000), packet.Close(conn))
				})
			}
			t.Logf("the connection itself: %v", err)
			if err := exchange(p.server, echo.Address, 5, 100_000); err != nil {
				t.Errorf("another connection: %v", err)
			}
			p.settled(t)
			if len(p.agent.Endings()) != 0 {
				t.Errorf("the agent's stream ended: %v", p.agent.Endings())
			}
		})
	}
}

// What ends an agent's stream ends what went over it; the agent comes again.
func TestAgentBreaksOff(t *testing.T) {
	for _, manner := range []agentdouble.Manner{agentdouble.Cut, agentdouble.End} {
		t.Run(string(manner), func(t *testing.T) {
			p := newPair(t)
			conn, err := download(t, p.server, manner, 1<<40)
			if err == nil {
				err = within(limit, func() error { return harness.CheckPayload(conn, downloadSeed, 1<<40) })
			}
			if err == nil || !strings.Contains(err.Error(), "EOF") {
				t.Errorf("expected the connection's end, got: %v", err)
			}
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			harness.MustWithin(t, limit, "a dial afterwards", func() error {
				return exchangeWithin(time.Second, p.server, echo.Address, 5, 1000)
			})
			p.settled(t)
		})
	}
}

// An agent that reads nothing more stops all that goes to it.
func TestDeafAgent(t *testing.T) {
	p := newPair(t)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for _, address := range []string{agentdouble.Deaf.Address(echo.Address), echo.Address} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		if _, err := p.server.Dial(ctx, address); err == nil {
			t.Errorf("a dial of %s through a deaf agent succeeded", address)
		}
		cancel()
	}
}

// What is wrong with a whole server, and that the agent comes back.
func TestTroubles(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin func(*serverdouble.Server)
		says  string
	}{
		{"refusing", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Refusing) }, "the token is not valid"},
		{"nameless", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Nameless) }, "expected one serverid"},
		{"countless", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Countless) }, "invalid syntax"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			c.begin(p.server)
			p.server.Cut()
			harness.MustWithin(t, limit, "the failure to connect", func() error {
				for _, failure := range p.agent.Failures() {
					if strings.Contains(failure.Error(), c.says) {
						return nil
					}
				}
				return fmt.Errorf("failures: %v", p.agent.Failures())
			})
			p.server.SetTrouble(serverdouble.None)
			p.returns(t)
		})
	}
	t.Run("ended calls", func(t *testing.T) {
		p := newPair(t)
		p.server.End()
		p.returns(t)
		if endings := p.agent.Endings(); len(endings) != 1 || !errors.Is(endings[0], io.EOF) {
			t.Errorf("the call ended with %v", endings)
		}
	})
	t.Run("going away", func(t *testing.T) {
		p := newPair(t)
		p.server.GoAway()
		harness.MustWithin(t, limit, "the agent's leave", func() error {
			if list := p.agent.Servers(); len(list) != 0 {
				return fmt.Errorf("still at %q", list)
			}
			return nil
		})
	})
	t.Run("deaf", func(t *testing.T) {
		p := newPair(t)
		echo := harness.Listen(t, "127.0.0.1", harness.Echo)
		p.server.SetTrouble(serverdouble.Deaf)
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		// The first answer may still be read, the second is not.
		_, _ = p.server.Dial(ctx, echo.Address)
		if _, err := p.server.Dial(ctx, echo.Address); err == nil {
			t.Error("a dial at a deaf server succeeded")
		}
	})
}

// returns requires that dials work again.
func (p *pair) returns(t *testing.T) {
	t.Helper()
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	harness.MustWithin(t, limit, "a dial afterwards", func() error {
		return exchangeWithin(time.Second, p.server, echo.Address, 9, 1000)
	})
}

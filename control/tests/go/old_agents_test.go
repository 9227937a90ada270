package counterparts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/agentdouble"
	"adit.test/counterparts/harness/suite"
)

// overBoth runs a test with HTTP CONNECT and with GRPC in front.
func overBoth(t *testing.T, test func(*testing.T, harness.Transport)) {
	for _, via := range []harness.Transport{harness.UDS, harness.GRPC} {
		t.Run(string(via), func(t *testing.T) { test(t, via) })
	}
}

// oldAgent connects an old agent to adit's server and returns when the server
// calls itself ready.
func oldAgent(t *testing.T, tunnel *harness.Tunnel, options agentdouble.Options) *agentdouble.Agent {
	t.Helper()
	options.Address, options.TLS = tunnel.AgentAddress, harness.AgentTLS(t)
	agent := agentdouble.Start(options)
	t.Cleanup(agent.Stop)
	harness.MustWithin(t, 5*time.Second, "the old agent's connection", func() error {
		if !slices.Equal(agent.Servers(), []string{"counterparts"}) {
			return fmt.Errorf("servers %q, failures %v", agent.Servers(), agent.Failures())
		}
		return nil
	})
	tunnel.WaitReady(t, 5*time.Second)
	return agent
}

// Bytes, errors and ends through an old agent.
func TestOldAgent(t *testing.T) { overBoth(t, honestOldAgent) }

func honestOldAgent(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 0)
	agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old", Identifiers: "host=old"})
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	var crowd errgroup.Group
	for seed := range uint64(50) {
		crowd.Go(func() error { return suite.Exchange(tunnel, 10*time.Second, echo.Address, seed, 300_000) })
	}
	if err := crowd.Wait(); err != nil {
		t.Error(err)
	}
	conn, err := tunnel.DialWithin(5*time.Second, harness.RefusingAddress(t))
	if err == nil {
		conn.Close()
		t.Error("a refused dial succeeded")
	} else if text := "connection refused"; !contains(err, text) {
		t.Errorf("expected %q, got: %v", text, err)
	}
	if err := oldDownload(t, tunnel, agentdouble.Good, 3*harness.Mebibyte); err != nil {
		t.Errorf("a download to its end: %v", err)
	}
	nothingOpen(t, agent)
	if n := agent.Received.Of(client.PacketType_DIAL_REQ); n != 52 {
		t.Errorf("52 dials reached the agent as %d", n)
	}
	if endings := agent.Endings(); len(endings) != 0 {
		t.Errorf("the agent's call ended: %v", endings)
	}
}

// nothingOpen waits until the agent has no connections left.
func nothingOpen(t *testing.T, agent *agentdouble.Agent) {
	t.Helper()
	harness.MustWithin(t, 10*time.Second, "the end of the old agent's connections", func() error {
		if n := agent.Open(); n != 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
}

// oldDownload has a target that is asked to send so many bytes and then ends.
func oldDownload(t *testing.T, tunnel *harness.Tunnel, manner agentdouble.Manner, size int64) error {
	t.Helper()
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(51, size))
	})
	conn, err := tunnel.DialWithin(5*time.Second, manner.Address(target.Address))
	if err != nil {
		return err
	}
	defer conn.Close()
	return within(10*time.Second, func() error {
		if _, err := conn.Write([]byte(".")); err != nil {
			return err
		}
		return errors.Join(harness.CheckPayload(conn, 51, size), harness.CheckEOF(conn))
	})
}

// What an old agent does wrong about one connection ends that one at most: its
// other connections go on, and so do the next dials.
func TestOldAgentMisbehaves(t *testing.T) { overBoth(t, misbehavingOldAgent) }

func misbehavingOldAgent(t *testing.T, via harness.Transport) {
	for _, c := range []struct {
		manner agentdouble.Manner
		// whole says that the connection itself is not harmed.
		whole bool
	}{
		{agentdouble.Late, true},
		{agentdouble.Twice, false},
		{agentdouble.TwiceOther, true},
		{agentdouble.Stranger, true},
		{agentdouble.Unnumbered, false},
		{agentdouble.DialClosed, false},
		{agentdouble.Early, false},
		{agentdouble.Foreign, true},
		{agentdouble.AfterClose, true},
		{agentdouble.CloseError, false},
		{agentdouble.ClosedLate, false},
	} {
		t.Run(string(c.manner), func(t *testing.T) {
			tunnel := harness.StartOver(t, via, 0)
			agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			bystander, err := tunnel.DialWithin(5*time.Second, echo.Address)
			if err != nil {
				t.Fatal(err)
			}
			defer bystander.Close()
			if err := within(5*time.Second, func() error { return ping(bystander, 1) }); err != nil {
				t.Fatal(err)
			}
			err = oldDownload(t, tunnel, c.manner, 300_000)
			if c.whole && err != nil {
				t.Errorf("the connection itself: %v", err)
			}
			if err := within(5*time.Second, func() error { return ping(bystander, 2) }); err != nil {
				t.Errorf("another connection of the agent: %v", err)
			}
			if err := suite.Exchange(tunnel, 5*time.Second, echo.Address, 52, 100_000); err != nil {
				t.Errorf("a dial afterwards: %v", err)
			}
			bystander.Close()
			nothingOpen(t, agent)
			if endings := agent.Endings(); len(endings) != 0 {
				t.Errorf("the agent's call ended: %v", endings)
			}
		})
	}
}

// A dial that an old agent never answers ends with its client; the answer that
// comes after that is closed.
func TestOldAgentAnswersLate(t *testing.T) {
	for manner, answers := range map[agentdouble.Manner]int{agentdouble.Late: 1, agentdouble.Silent: 0} {
		t.Run(string(manner), func(t *testing.T) {
			tunnel := harness.StartOver(t, harness.GRPC, 0)
			agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if conn, err := tunnel.Dial(ctx, "tcp", manner.Address(echo.Address)); err == nil {
				conn.Close()
				t.Error("the dial succeeded")
			}
			harness.MustWithin(t, 5*time.Second, "the close of the late answer", func() error {
				if n := agent.Received.Of(client.PacketType_CLOSE_REQ); n != answers {
					return fmt.Errorf("the agent received %d CLOSE_REQ", n)
				}
				return nil
			})
			nothingOpen(t, agent)
			if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, 53, 1000); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// An old agent that breaks off amid a connection ends it, and comes back.
func TestOldAgentBreaksOff(t *testing.T) { overBoth(t, oldAgentBreaksOff) }

func oldAgentBreaksOff(t *testing.T, via harness.Transport) {
	for _, manner := range []agentdouble.Manner{agentdouble.Cut, agentdouble.End} {
		t.Run(string(manner), func(t *testing.T) {
			tunnel := harness.StartOver(t, via, 0)
			agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			if err := oldDownload(t, tunnel, manner, 1<<40); err == nil || contains(err, "not done within") {
				t.Errorf("expected the connection's end, got: %v", err)
			}
			harness.MustWithin(t, 5*time.Second, "a dial afterwards", func() error {
				return suite.Exchange(tunnel, time.Second, echo.Address, 54, 1000)
			})
			nothingOpen(t, agent)
		})
	}
}

// A dial through an old agent that is lost before it answers fails at once.
func TestOldAgentLostWhileDialing(t *testing.T) { overBoth(t, oldAgentLostWhileDialing) }

func oldAgentLostWhileDialing(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 0)
	agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
	failed := make(chan error, 1)
	go func() {
		conn, err := tunnel.DialWithin(20*time.Second, agentdouble.Silent.Address("127.0.0.1:1"))
		if err == nil {
			conn.Close()
		}
		failed <- err
	}()
	harness.MustWithin(t, 5*time.Second, "the dial at the agent", func() error {
		if agent.Received.Of(client.PacketType_DIAL_REQ) == 0 {
			return errors.New("nothing yet")
		}
		return nil
	})
	lost := time.Now()
	agent.Stop()
	if err := <-failed; err == nil || time.Since(lost) > 2*time.Second {
		t.Errorf("the dial ended %v after its agent: %v", time.Since(lost), err)
	}
}

// A client that stops reading, with an old agent that knows no flow control:
// whatever becomes of its own connection, the agent's others go on.
func TestOldAgentStoppedReader(t *testing.T) { overBoth(t, oldAgentStoppedReader) }

func oldAgentStoppedReader(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 0)
	agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(55, 1<<40))
	})
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for range 4 {
		stopped, err := tunnel.DialWithin(5*time.Second, target.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer stopped.Close()
		if _, err := stopped.Write([]byte(".")); err != nil {
			t.Fatal(err)
		}
	}
	for dial := range uint64(30) {
		if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, dial, 50_000); err != nil {
			t.Fatalf("dial %d beside stopped readers: %v", dial, err)
		}
	}
	if endings := agent.Endings(); len(endings) != 0 {
		t.Errorf("the agent's call ended: %v", endings)
	}
}

// An old agent that reads nothing more is no matter of another agent's.
func TestOldAgentDeaf(t *testing.T) { overBoth(t, oldAgentDeaf) }

func oldAgentDeaf(t *testing.T, via harness.Transport) {
	tunnel := harness.StartWith(t, harness.Options{Via: via, ServerFlags: []string{"--proxy-strategies", "destHost,default"}})
	deaf := oldAgent(t, tunnel, agentdouble.Options{ID: "deaf", Identifiers: "host=deaf.invalid", Deaf: true})
	oldAgent(t, tunnel, agentdouble.Options{ID: "good", Identifiers: "ipv4=127.0.0.1"})
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	hung := make(chan error, 1)
	go func() {
		conn, err := tunnel.DialWithin(30*time.Second, "deaf.invalid:1")
		if err == nil {
			conn.Close()
		}
		hung <- err
	}()
	harness.MustWithin(t, 5*time.Second, "the dial at the deaf agent", func() error {
		if deaf.Received.Of(client.PacketType_DIAL_REQ) == 0 {
			return errors.New("nothing yet")
		}
		return nil
	})
	for dial := range uint64(30) {
		if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, dial, 50_000); err != nil {
			t.Fatalf("dial %d beside a deaf agent: %v", dial, err)
		}
	}
	deaf.Stop()
	if err := within(5*time.Second, func() error { return <-hung }); err == nil || contains(err, "not done within") {
		t.Errorf("expected the failure of the deaf agent's dial, got: %v", err)
	}
}

// An old agent whose window has no room for a dial within the operator's time
// is given up, as upstream's server does it: dials that it took or did not take
// say that they waited, and it comes back.
func TestOldAgentTakesNoDial(t *testing.T) { overBoth(t, oldAgentTakesNoDial) }

func oldAgentTakesNoDial(t *testing.T, via harness.Transport) {
	tunnel := harness.StartWith(t, harness.Options{Via: via, ServerFlags: []string{"--backend-dial-timeout", "2s"}})
	deaf := oldAgent(t, tunnel, agentdouble.Options{ID: "deaf", Deaf: true})
	// 64 KiB of dials fill what the agent lets come before it has read it.
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "invalid:1"
	var dials errgroup.Group
	for range 400 {
		dials.Go(func() error {
			started := time.Now()
			conn, err := tunnel.DialWithin(20*time.Second, long)
			if err == nil {
				conn.Close()
				return errors.New("a dial through a deaf agent succeeded")
			}
			if took := time.Since(started); took > 5*time.Second {
				return fmt.Errorf("the dial failed after %v: %w", took, err)
			}
			if !contains(err, "timed out waiting for backend dial") && !contains(err, "Backend context error") &&
				!contains(err, "No agent available") {
				return fmt.Errorf("expected a dial that waited in vain, got: %w", err)
			}
			return nil
		})
	}
	if err := dials.Wait(); err != nil {
		t.Error(err)
	}
	harness.MustWithin(t, 5*time.Second, "the end of the agent's call", func() error {
		if n := len(deaf.Endings()); n == 0 {
			return errors.New("it is still served")
		}
		return nil
	})
	harness.MustWithin(t, 5*time.Second, "the agent's return", func() error {
		if servers := deaf.Servers(); len(servers) == 0 {
			return errors.New("it has no server")
		}
		return nil
	})
}

// An old agent that drains gets new dials only while it is the only one.
func TestOldAgentDrains(t *testing.T) {
	tunnel := harness.StartOver(t, harness.GRPC, 0)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	leaving := oldAgent(t, tunnel, agentdouble.Options{ID: "leaving"})
	if err := leaving.Drain(); err != nil {
		t.Fatal(err)
	}
	for dial := range uint64(10) {
		if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, dial, 1000); err != nil {
			t.Fatalf("the only agent drains: %v", err)
		}
	}
	staying := oldAgent(t, tunnel, agentdouble.Options{ID: "staying"})
	for dial := range uint64(20) {
		if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, dial, 1000); err != nil {
			t.Fatal(err)
		}
	}
	before, after := leaving.Received.Of(client.PacketType_DIAL_REQ), staying.Received.Of(client.PacketType_DIAL_REQ)
	if before != 10 || after != 20 {
		t.Errorf("%d dials went to the agent that drains, %d to the other", before, after)
	}
}

// Two processes of one agent, as while one is replaced: what runs on the older
// goes on, the newer gets the dials, and when it is gone the older has them back.
func TestOldAgentTwice(t *testing.T) { overBoth(t, oldAgentTwice) }

func oldAgentTwice(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 0)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	older := oldAgent(t, tunnel, agentdouble.Options{ID: "twin"})
	running, err := tunnel.DialWithin(5*time.Second, echo.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	exchange := func(what string, number uint64) {
		t.Helper()
		if err := within(5*time.Second, func() error { return ping(running, number) }); err != nil {
			t.Fatalf("%s: what runs on the older: %v", what, err)
		}
		for dial := range uint64(10) {
			if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, dial, 1000); err != nil {
				t.Fatalf("%s: dial %d: %v", what, dial, err)
			}
		}
	}
	exchange("alone", 1)
	newer := oldAgent(t, tunnel, agentdouble.Options{ID: "twin"})
	// An agent believes itself connected a moment before the server has it in its routes.
	harness.MustWithin(t, 5*time.Second, "a dial of the newer", func() error {
		if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, 57, 1000); err != nil {
			return err
		}
		if newer.Received.Of(client.PacketType_DIAL_REQ) == 0 {
			return errors.New("it was the older's")
		}
		return nil
	})
	before := older.Received.Of(client.PacketType_DIAL_REQ)
	exchange("both", 2)
	if n := older.Received.Of(client.PacketType_DIAL_REQ) - before; n != 0 {
		t.Errorf("%d dials went to the older", n)
	}
	newer.Stop()
	harness.MustWithin(t, lossNoticed, "a dial of the older again", func() error {
		return suite.Exchange(tunnel, time.Second, echo.Address, 58, 1000)
	})
	exchange("the older again", 3)
}

// An old agent beside a new one: both get dials, and either carries on alone.
func TestOldAndNewAgent(t *testing.T) { overBoth(t, oldAndNewAgent) }

func oldAndNewAgent(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	agent := oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	exchanges := func(what string) {
		t.Helper()
		for dial := range uint64(40) {
			if err := suite.Exchange(tunnel, 8*time.Second, echo.Address, dial, 1000); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	exchanges("both")
	if n := agent.Received.Of(client.PacketType_DIAL_REQ); n == 0 || n == 40 {
		t.Errorf("the old agent got %d of 40 dials", n)
	}
	agent.Stop()
	exchanges("the new one alone")
	oldAgent(t, tunnel, agentdouble.Options{ID: "old"})
	tunnel.KillAgent(t, 0)
	harness.MustWithin(t, lossNoticed, "the loss of the new agent", func() error {
		return suite.Exchange(tunnel, time.Second, echo.Address, 56, 1000)
	})
	exchanges("the old one alone")
}

package counterparts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/packet"
	"adit.test/counterparts/harness/serverdouble"
)

// overTCP has an agent choose HTTP/2 over TCP, without a race against QUIC.
const overTCP = "--transport=tcp"

// oldServer starts an old server that says there are so many.
func oldServer(t *testing.T, id string, count int) *serverdouble.Server {
	t.Helper()
	return serverdouble.Start(t, serverdouble.Options{TLS: harness.ServerTLS(t), ID: id, Count: count})
}

// ourAgent connects adit's agent to an old server, and returns when both agree.
func ourAgent(t *testing.T, server *serverdouble.Server, flags ...string) *harness.Agent {
	t.Helper()
	agent := harness.StartAgent(t, "new", server.Address, flags...)
	harness.MustWithin(t, 10*time.Second, "the agent's connection", func() error {
		if names := server.Agents(); !slices.Equal(names, []string{"new"}) {
			return fmt.Errorf("the server has the agents %q, %d refused", names, server.Refused.Load())
		}
		return agent.Ready()
	})
	return agent
}

// through dials an echo target at an old server and has a payload returned.
func through(server *serverdouble.Server, limit time.Duration, address string, seed uint64, size int64) error {
	return within(limit, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		conn, err := server.Dial(ctx, address)
		if err != nil {
			return err
		}
		var directions errgroup.Group
		directions.Go(func() error {
			_, err := io.Copy(conn, harness.NewPayload(seed, size))
			return err
		})
		directions.Go(func() error { return harness.CheckPayload(conn, seed, size) })
		return errors.Join(directions.Wait(), packet.Close(conn))
	})
}

// serverSettled waits until an old server has no dial and no connection left.
func serverSettled(t *testing.T, server *serverdouble.Server) {
	t.Helper()
	harness.MustWithin(t, 10*time.Second, "the end of all dials and connections", func() error {
		if pending, established := server.Pending(), server.Established(); pending+established != 0 {
			return fmt.Errorf("%d pending, %d established", pending, established)
		}
		return nil
	})
}

// Bytes, ends and identifiers, whichever way the agent found to TCP.
func TestOurAgentAtOldServer(t *testing.T) {
	for _, transport := range []string{overTCP, "--transport=auto"} {
		t.Run(transport, func(t *testing.T) {
			server := oldServer(t, "old", 1)
			ourAgent(t, server, transport, "--agent-identifiers=host=node-1&ipv4=10.0.0.1")
			echo := harness.Listen(t, "127.0.0.1", harness.Echo)
			var crowd errgroup.Group
			for seed := range uint64(50) {
				crowd.Go(func() error { return through(server, 20*time.Second, echo.Address, seed, 300_000) })
			}
			if err := crowd.Wait(); err != nil {
				t.Error(err)
			}
			serverSettled(t, server)
			if stray := server.Stray(); len(stray) != 0 {
				t.Errorf("stray packets: %v", stray)
			}
			claims := server.Identifiers()
			if len(claims) != 1 || !strings.Contains(claims[0], "host=node-1") || !strings.Contains(claims[0], "ipv4=10.0.0.1") {
				t.Errorf("the agent claims %q", claims)
			}
		})
	}
}

// An old server that knows agents by a token: an agent that shows an old one is
// refused, and shows the new one once it is in the file.
func TestOurAgentToken(t *testing.T) {
	server := serverdouble.Start(t, serverdouble.Options{
		TLS: harness.ServerTLS(t), ID: "old", Count: 1, Token: "renewed.by.kubelet",
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("expired")
	agent := harness.StartAgent(t, "new", server.Address, overTCP, "--service-account-token-path", file)
	harness.MustWithin(t, 10*time.Second, "a refusal", func() error {
		if server.Refused.Load() == 0 {
			return errors.New("nobody was refused")
		}
		return nil
	})
	write("renewed.by.kubelet")
	harness.MustWithin(t, 20*time.Second, "the agent's connection", agent.Ready)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	if err := through(server, 5*time.Second, echo.Address, 1, 100_000); err != nil {
		t.Error(err)
	}
}

// A target's end is the connection's, behind its last byte.
func TestOurAgentEndsAtOldServer(t *testing.T) {
	server := oldServer(t, "old", 1)
	ourAgent(t, server, overTCP)
	const size = 3 * harness.Mebibyte
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(61, size))
	})
	for range 5 {
		err := within(10*time.Second, func() error {
			conn, err := server.Dial(context.Background(), target.Address)
			if err != nil {
				return err
			}
			if _, err := conn.Write([]byte(".")); err != nil {
				return err
			}
			return errors.Join(harness.CheckPayload(conn, 61, size), harness.CheckEOF(conn))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	serverSettled(t, server)
}

// The texts of failed dials are Go's, byte for byte where kube-apiserver and the
// server's status codes depend on them.
func TestOurAgentDialErrors(t *testing.T) {
	t.Parallel()
	server := oldServer(t, "old", 1)
	ourAgent(t, server, overTCP)
	refusing, blackHole := harness.RefusingAddress(t), harness.BlackHole(t)
	for _, c := range []struct{ name, address, says string }{
		{"refused", refusing, "dial tcp " + refusing + ": connect: connection refused"},
		{"unknown", "no-such-host.invalid:80", "no such host"},
		{"vanished", blackHole, "dial tcp " + blackHole + ": i/o timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			started := time.Now()
			_, err := server.Dial(context.Background(), c.address)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("expected %q, got: %v", c.says, err)
			}
			if took := time.Since(started); took > 6500*time.Millisecond {
				t.Errorf("the answer took %v", took)
			}
		})
	}
	serverSettled(t, server)
}

// The exact answers to what a good server never sends.
func TestOurAgentWire(t *testing.T) {
	server := oldServer(t, "old", 1)
	ourAgent(t, server, overTCP)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	wire, err := server.Wire()
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
	expect := func(id int64, text string) {
		t.Helper()
		harness.MustWithin(t, 5*time.Second, "the answer "+text, func() error {
			for _, p := range server.Stray() {
				if r := p.GetCloseResponse(); r != nil && r.ConnectID == id && r.Error == text {
					return nil
				}
			}
			return fmt.Errorf("strays: %v", server.Stray())
		})
	}
	const unknown = 77
	send(packet.Data(unknown, []byte("x")), packet.Data(0, []byte("x")), packet.DialCls(5), packet.Drain())
	expect(unknown, "unrecognized connectID")
	send(packet.CloseReq(unknown))
	expect(unknown, "Unknown connectID")
	text := strings.Repeat("0123456789", 100_000)
	send(packet.Data(id, []byte(text)))
	if got, err := wire.Bytes(id, len(text)); err != nil || string(got) != text {
		t.Fatalf("%d bytes came back, %v", len(got), err)
	}
	send(packet.CloseReq(id), packet.CloseReq(id), packet.Data(id, []byte("late")))
	last, err := wire.Next()
	if r := last.GetCloseResponse(); err != nil || r == nil || r.Error != "" {
		t.Errorf("expected CLOSE_RSP without a text, got %v, %v", last, err)
	}
	expect(id, "Unknown connectID")
	expect(id, "unrecognized connectID")
	if err := through(server, 5*time.Second, echo.Address, 1, 100_000); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	serverSettled(t, server)
}

// A target that takes nothing, with a server that knows no flow control: the
// connection may be given up, the server's other connections go on.
func TestOurAgentStoppedTarget(t *testing.T) {
	server := oldServer(t, "old", 1)
	ourAgent(t, server, overTCP)
	stop := make(chan struct{})
	defer close(stop)
	stopped := harness.Listen(t, "127.0.0.1", func(*net.TCPConn) { <-stop })
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	wire, err := server.Wire()
	if err != nil {
		t.Fatal(err)
	}
	id, err := wire.Dial(stopped.Address)
	if err != nil {
		t.Fatal(err)
	}
	err = within(10*time.Second, func() error {
		for range 64 {
			if err := wire.Send(packet.Data(id, make([]byte, harness.Mebibyte))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("64 MiB for a stopped target: %v", err)
	}
	if err := through(server, 5*time.Second, echo.Address, 1, 100_000); err != nil {
		t.Errorf("another connection: %v", err)
	}
	wire.Close()
	serverSettled(t, server)
}

// SIGTERM: DRAIN is said, what runs goes on, and the end comes with the last
// connection.
func TestOurAgentDrains(t *testing.T) {
	server := oldServer(t, "old", 1)
	agent := ourAgent(t, server, overTCP)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	conn, err := server.Dial(t.Context(), echo.Address)
	if err != nil {
		t.Fatal(err)
	}
	agent.Signal(syscall.SIGTERM)
	harness.MustWithin(t, 5*time.Second, "DRAIN", func() error {
		if server.Draining() != 1 {
			return errors.New("not yet")
		}
		return nil
	})
	if err := within(5*time.Second, func() error { return ping(conn, 7) }); err != nil {
		t.Errorf("the connection that runs: %v", err)
	}
	if err := packet.Close(conn); err != nil {
		t.Error(err)
	}
	if err := agent.Await(10 * time.Second); err != nil {
		t.Error(err)
	}
}

// What is wrong with a whole server: the agent comes back once it is over.
func TestOurAgentTroubles(t *testing.T) {
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for _, c := range []struct {
		name  string
		begin func(*serverdouble.Server)
	}{
		{"refusing", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Refusing) }},
		{"headless", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Headless) }},
		{"nameless", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Nameless) }},
		{"countless", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Countless) }},
		{"deaf", func(s *serverdouble.Server) { s.SetTrouble(serverdouble.Deaf) }},
		{"ended calls", (*serverdouble.Server).End},
		{"cut", func(*serverdouble.Server) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := oldServer(t, "old", 1)
			agent := ourAgent(t, server, overTCP)
			if err := through(server, 5*time.Second, echo.Address, 1, 1000); err != nil {
				t.Fatal(err)
			}
			c.begin(server)
			if c.name != "ended calls" {
				server.Cut()
				harness.MustWithin(t, 5*time.Second, "the loss of the server", func() error {
					if len(server.Endings()) == 0 {
						return errors.New("no call has ended")
					}
					return nil
				})
			}
			if c.name == "refusing" {
				harness.MustWithin(t, 5*time.Second, "an agent that is not ready", func() error {
					if agent.Ready() == nil {
						return errors.New("it calls itself ready")
					}
					return nil
				})
			}
			server.SetTrouble(serverdouble.None)
			server.Cut()
			harness.MustWithin(t, 15*time.Second, "a dial afterwards", func() error {
				return through(server, time.Second, echo.Address, 2, 1000)
			})
		})
	}
}

// A server that goes away and its successor on the same address.
func TestOurAgentServerRestarted(t *testing.T) {
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for _, c := range []struct {
		name string
		end  func(*serverdouble.Server)
	}{{"killed", (*serverdouble.Server).Stop}, {"going away", (*serverdouble.Server).GoAway}} {
		t.Run(c.name, func(t *testing.T) {
			first := oldServer(t, "first", 1)
			ourAgent(t, first, overTCP)
			c.end(first)
			var second *serverdouble.Server
			harness.MustWithin(t, 10*time.Second, "the end of the first server's port", func() error {
				listener, err := net.Listen("tcp", first.Address)
				if err != nil {
					return err
				}
				return listener.Close()
			})
			second = serverdouble.Start(t, serverdouble.Options{
				Address: first.Address, TLS: harness.ServerTLS(t), ID: "second", Count: 1,
			})
			harness.MustWithin(t, 15*time.Second, "a dial at the second server", func() error {
				return through(second, time.Second, echo.Address, 2, 1000)
			})
		})
	}
}

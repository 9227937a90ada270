// The doubles prove themselves on each other: konnectivity-client in front, a
// real target behind, and no adit in between.
package serverdouble_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/agentdouble"
	"adit.test/counterparts/harness/packet"
	"adit.test/counterparts/harness/serverdouble"
)

// limit bounds whatever has no reason to take long.
const limit = 10 * time.Second

// pair is a server's double with an agent's double.
type pair struct {
	certs  *certificates
	server *serverdouble.Server
	agent  *agentdouble.Agent
}

// certificates are those of one cluster.
type certificates struct{ server, agent *tls.Config }

func newCertificates(t *testing.T) *certificates {
	t.Helper()
	ca := harness.NewCA(t, "konnectivity")
	return &certificates{
		server: &tls.Config{
			Certificates: []tls.Certificate{ca.Serving(t, []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    ca.Pool(),
		},
		agent: &tls.Config{
			RootCAs: ca.Pool(), ServerName: "127.0.0.1",
			Certificates: []tls.Certificate{ca.Client(t, "agents", "agent")},
		},
	}
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{certs: newCertificates(t)}
	p.server = serverdouble.Start(t, serverdouble.Options{TLS: p.certs.server, ID: "server", Count: 1})
	p.agent = p.startAgent(t, "agent", p.server.Address)
	return p
}

// startAgent returns when the agent is connected to some server.
func (p *pair) startAgent(t *testing.T, id, address string) *agentdouble.Agent {
	t.Helper()
	agent := agentdouble.Start(agentdouble.Options{Address: address, TLS: p.certs.agent, ID: id, Identifiers: "host=" + id})
	t.Cleanup(agent.Stop)
	harness.MustWithin(t, limit, id+"'s connection", func() error {
		if len(agent.Servers()) == 0 {
			return fmt.Errorf("no server; %v", agent.Failures())
		}
		return nil
	})
	// The headers come before the server has the agent.
	harness.MustWithin(t, limit, "the server's agent", func() error {
		if p.server != nil && len(p.server.Agents()) == 0 {
			return errors.New("no agent")
		}
		return nil
	})
	return agent
}

// within runs what has no deadline of its own.
func within(limit time.Duration, what func() error) error {
	result := make(chan error, 1)
	go func() { result <- what() }()
	select {
	case err := <-result:
		return err
	case <-time.After(limit):
		return fmt.Errorf("not done within %v", limit)
	}
}

// exchange dials an echo target, has a payload returned, and closes.
func exchange(server *serverdouble.Server, address string, seed uint64, size int64) error {
	return exchangeWithin(limit, server, address, seed, size)
}

// exchangeWithin is exchange for dials that may get lost: the server does not
// fail those of an agent that has gone.
func exchangeWithin(limit time.Duration, server *serverdouble.Server, address string, seed uint64, size int64) error {
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

// downloadSeed names the payload of download.
const downloadSeed = 3

// download dials a target that sends so many bytes once it is asked to, and
// asks. konnectivity-client loses what arrives together with the dial's answer.
func download(t *testing.T, server *serverdouble.Server, manner agentdouble.Manner, size int64) (net.Conn, error) {
	t.Helper()
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(downloadSeed, size))
	})
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := server.Dial(ctx, manner.Address(target.Address))
	if err == nil {
		_, err = conn.Write([]byte("."))
	}
	return conn, err
}

// settled requires that nothing is left of any dial and any connection.
func (p *pair) settled(t *testing.T) {
	t.Helper()
	harness.MustWithin(t, limit, "the end of all dials and connections", func() error {
		pending, established, open := p.server.Pending(), p.server.Established(), p.agent.Open()
		if pending+established+open != 0 {
			return fmt.Errorf("%d pending, %d established, %d open at the agent", pending, established, open)
		}
		return nil
	})
}

func TestBytes(t *testing.T) {
	p := newPair(t)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	var crowd errgroup.Group
	for seed := range uint64(20) {
		crowd.Go(func() error { return exchange(p.server, echo.Address, seed, harness.Mebibyte/2) })
	}
	if err := crowd.Wait(); err != nil {
		t.Error(err)
	}
	p.settled(t)
	if claims := p.server.Identifiers(); len(claims) != 1 || claims[0] != "host=agent" {
		t.Errorf("the agent claims %q", claims)
	}
	if stray := p.server.Stray(); len(stray) != 0 {
		t.Errorf("stray packets: %v", stray)
	}
}

// A target that ends ends the client's connection, after its last byte.
func TestTargetEnds(t *testing.T) {
	p := newPair(t)
	const size = 200_000
	conn, err := download(t, p.server, agentdouble.Good, size)
	if err == nil {
		err = within(limit, func() error {
			return errors.Join(harness.CheckPayload(conn, downloadSeed, size), harness.CheckEOF(conn))
		})
	}
	if err != nil {
		t.Error(err)
	}
	p.settled(t)
}

func TestServerCount(t *testing.T) {
	p := &pair{certs: newCertificates(t)}
	balancer := harness.NewBalancer(t)
	servers := map[string]*serverdouble.Server{}
	start := func(id, address string) {
		servers[id] = serverdouble.Start(t, serverdouble.Options{Address: address, TLS: p.certs.server, ID: id, Count: 3})
		balancer.Add(servers[id].Address)
	}
	for _, id := range []string{"a", "b", "c"} {
		start(id, "")
	}
	agent := p.startAgent(t, "agent", balancer.Address)
	connected := func(count int) {
		t.Helper()
		harness.MustWithin(t, limit, "the agent's servers", func() error {
			if list := agent.Servers(); len(list) != count {
				return fmt.Errorf("%q", list)
			}
			return nil
		})
	}
	connected(3)
	balancer.Remove(servers["b"].Address)
	servers["b"].Stop()
	connected(2)
	start("d", "")
	connected(3)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	for _, id := range []string{"a", "c", "d"} {
		if err := exchange(servers[id], echo.Address, 1, 1000); err != nil {
			t.Errorf("through server %s: %v", id, err)
		}
	}
	if n := servers["a"].Received.Of(0); n != 0 {
		t.Errorf("an agent sent %d DIAL_REQ", n)
	}
}

// Two servers of one name count as one.
func TestDuplicateServer(t *testing.T) {
	p := &pair{certs: newCertificates(t)}
	balancer := harness.NewBalancer(t)
	for range 2 {
		server := serverdouble.Start(t, serverdouble.Options{TLS: p.certs.server, ID: "same", Count: 2})
		balancer.Add(server.Address)
	}
	agent := p.startAgent(t, "agent", balancer.Address)
	harness.MustWithin(t, limit, "the second server's answers", func() error {
		if n := agent.Duplicates.Load(); n < 3 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	if list := agent.Servers(); len(list) != 1 {
		t.Errorf("the agent has the servers %q", list)
	}
}

func TestDrain(t *testing.T) {
	p := newPair(t)
	if err := p.agent.Drain(); err != nil {
		t.Fatal(err)
	}
	harness.MustWithin(t, limit, "DRAIN", func() error {
		if p.server.Draining() != 1 {
			return errors.New("not draining")
		}
		return nil
	})
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	if err := exchange(p.server, echo.Address, 1, 1000); err != nil {
		t.Errorf("through an agent that drains, the only one: %v", err)
	}
}

// Package agentdouble stands in for Konnectivity's Go agent, which is not to be
// had as a module: it dials out to a server with a TLS client certificate,
// speaks /AgentService/Connect with grpc-go and the packet types of
// konnectivity-client, and dials targets.
//
// It has the Go agent's manners, the bad ones among them: 4 KiB reads, queues
// of 150 packets, five seconds for a dial, and a receive loop that one slow
// target or one close blocks for all. What it does wrong beyond that is asked
// for by a target's name (Manner). Deliberately absent: leases, health and
// metrics endpoints, the token's file.
package agentdouble

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"adit.test/counterparts/harness/packet"
)

// Options say where an agent connects, and as what.
type Options struct {
	// Address is the server's, or that of a balancer with servers behind it.
	Address string
	// TLS has the roots, the name to verify and the agent's certificate; gRPC
	// adds the protocol h2.
	TLS *tls.Config
	// ID is the agent's name.
	ID string
	// Identifiers is what the agent claims to serve, as a URL's query.
	Identifiers string
	// NoIdentifiers leaves the metadata out that a Go agent always sends.
	NoIdentifiers bool
	// Token is sent as the bearer token, unless it is empty.
	Token string
	// SyncInterval is the wait between attempts to connect, 50 ms if zero (the
	// Go agent: a second).
	SyncInterval time.Duration
	// ProbeInterval is how often a connection's state is looked at, 50 ms if
	// zero (the Go agent: a second).
	ProbeInterval time.Duration
	// Late is what a late answer takes, 300 ms if zero.
	Late time.Duration
	// Deaf has the agent read nothing more from its first dial on, whatever the
	// target's name. Its windows stay as they are: gRPC would widen them for
	// somebody who sends much at once.
	Deaf bool
}

// defaultInterval is the tests' second.
const defaultInterval = 50 * time.Millisecond

// fixedWindow is the least window that gRPC lets somebody choose.
const fixedWindow = 64<<10 - 1

// defaultLate is what a late answer takes unless a test says otherwise.
const defaultLate = 300 * time.Millisecond

// Agent is a running double.
type Agent struct {
	options Options
	// Received counts the packets from servers, Sent those to them.
	Received, Sent packet.Tally
	// Duplicates counts the attempts that led to a server the agent had already.
	Duplicates atomic.Int64

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mutex    sync.Mutex
	streams  map[string]*stream
	wanted   int
	draining bool
	failures []error
	endings  []error
}

// Start begins to connect; the agent runs until Stop.
func Start(options Options) *Agent {
	if options.SyncInterval == 0 {
		options.SyncInterval = defaultInterval
	}
	if options.ProbeInterval == 0 {
		options.ProbeInterval = defaultInterval
	}
	if options.Late == 0 {
		options.Late = defaultLate
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{options: options, ctx: ctx, cancel: cancel, streams: map[string]*stream{}, wanted: 1}
	a.tasks.Add(1)
	go func() {
		defer a.tasks.Done()
		a.sync()
	}()
	return a
}

// Stop ends every connection without a word, as a killed process would, and
// returns when nothing of the agent is left.
func (a *Agent) Stop() {
	a.cancel()
	a.tasks.Wait()
}

// Drain sends DRAIN to every server and has the agent connect no more; what it
// serves goes on.
func (a *Agent) Drain() error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.draining = true
	var problems []error
	for _, s := range a.streams {
		problems = append(problems, s.send(packet.Drain()))
	}
	return errors.Join(problems...)
}

// Servers lists the names of the servers that the agent is connected to.
func (a *Agent) Servers() []string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Sorted(maps.Keys(a.streams))
}

// Open is how many connections to targets are open.
func (a *Agent) Open() int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	open := 0
	for _, s := range a.streams {
		open += s.open()
	}
	return open
}

// Endings are the errors by which servers' streams ended, oldest first.
func (a *Agent) Endings() []error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Clone(a.endings)
}

// Failures are the errors of attempts to connect, oldest first.
func (a *Agent) Failures() []error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return slices.Clone(a.failures)
}

// sync connects until the agent has as many servers as they say there are.
func (a *Agent) sync() {
	for a.ctx.Err() == nil {
		if a.wants() {
			if err := a.connect(); err != nil && a.ctx.Err() == nil {
				a.mutex.Lock()
				a.failures = append(a.failures, err)
				a.mutex.Unlock()
			}
		}
		select {
		case <-a.ctx.Done():
		case <-time.After(a.options.SyncInterval):
		}
	}
}

func (a *Agent) wants() bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return !a.draining && len(a.streams) < a.wanted
}

// connect makes one connection and serves it in the background. A server that
// the agent has already is let go again.
func (a *Agent) connect() error {
	ctx, cancel := context.WithCancel(a.ctx)
	s := &stream{agent: a, ctx: ctx, cancel: cancel, conns: map[int64]*conn{}}
	serverID, count, err := s.begin(a.metadata())
	if err != nil {
		s.close()
		return err
	}
	a.mutex.Lock()
	_, duplicate := a.streams[serverID]
	if !duplicate {
		a.streams[serverID], a.wanted = s, max(count, 1)
	}
	a.mutex.Unlock()
	if duplicate {
		a.Duplicates.Add(1)
		s.close()
		return nil
	}
	a.tasks.Add(2)
	go func() {
		defer a.tasks.Done()
		s.probe(a.options.ProbeInterval)
	}()
	go func() {
		defer a.tasks.Done()
		err := s.serve()
		a.mutex.Lock()
		defer a.mutex.Unlock()
		delete(a.streams, serverID)
		a.endings = append(a.endings, err)
	}()
	return nil
}

func (a *Agent) metadata() metadata.MD {
	pairs := metadata.Pairs("agentID", a.options.ID)
	if !a.options.NoIdentifiers {
		pairs.Set("agentIdentifiers", a.options.Identifiers)
	}
	if a.options.Token != "" {
		pairs.Set("authorization", "Bearer "+a.options.Token)
	}
	return pairs
}

// dialServer prepares a gRPC connection of its own; Go's agent has one for each
// server.
func (s *stream) dialServer() (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(s.agent.options.TLS)),
		grpc.WithContextDialer(s.dialRaw),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: time.Hour, Timeout: 20 * time.Second, PermitWithoutStream: true,
		}),
	}
	if s.agent.options.Deaf {
		options = append(options, grpc.WithInitialWindowSize(fixedWindow), grpc.WithInitialConnWindowSize(fixedWindow))
	}
	return grpc.NewClient("passthrough:///"+s.agent.options.Address, options...)
}

// probe drops the server once its connection is in another state than READY,
// which a GOAWAY brings about as well.
func (s *stream) probe(interval time.Duration) {
	for {
		// Not before the first interval: gRPC lets a call through a moment before
		// it calls the connection READY.
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(interval):
		}
		if s.cc.GetState() != connectivity.Ready {
			s.cancel()
			return
		}
	}
}

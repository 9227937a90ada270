package suite

import (
	"io"
	"log"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// CountingListener counts what it accepts: how many tunnels a client used.
type CountingListener struct {
	net.Listener
	// Accepted is the count.
	Accepted atomic.Int64
}

// Accept implements net.Listener.
func (l *CountingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.Accepted.Add(1)
	}
	return conn, err
}

// discard is a logger for servers whose complaints are part of a test.
var discard = log.New(io.Discard, "", 0)

// awaitClosed waits for a channel to be closed.
func awaitClosed(t *testing.T, closed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing within 10 s", what)
	}
}

package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are drawn below the kernel's ephemeral range (32768 and up), so that
// no outgoing connection of a test can take one between the moment it was
// found free and the moment a program binds it.
const (
	portFirst = 20000
	portLast  = 31999
)

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// FreePort returns a port that is free on 127.0.0.1 for TCP and for UDP, and
// that this process has not handed out before.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	for range 1000 {
		port := portFirst + rand.IntN(portLast-portFirst+1)
		if ports.taken[port] || !bindable(port) {
			continue
		}
		ports.taken[port] = true
		return port
	}
	t.Fatal("no free port found")
	return 0
}

func bindable(port int) bool {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	stream, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	defer stream.Close()
	datagram, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	return datagram.Close() == nil
}

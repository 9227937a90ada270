package harness

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// Balancer is a TCP load balancer: each connection goes to the next of its
// backends, round robin. It looks at no byte of what it carries.
type Balancer struct {
	// Address is where it listens.
	Address string

	mutex    sync.Mutex
	backends []string
	next     int
}

// NewBalancer starts one without any backend; it ends with the test.
func NewBalancer(t testing.TB) *Balancer {
	t.Helper()
	balancer := &Balancer{}
	target := Listen(t, "127.0.0.1", balancer.carry)
	balancer.Address = target.Address
	return balancer
}

// Add has connections go to this address as well.
func (b *Balancer) Add(address string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.backends = append(b.backends, address)
}

// Remove has no more connections go to this address; what is open stays.
func (b *Balancer) Remove(address string) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.backends = slices.DeleteFunc(b.backends, func(other string) bool { return other == address })
}

// choose takes the next backend.
func (b *Balancer) choose() (string, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(b.backends) == 0 {
		return "", errors.New("no backend")
	}
	b.next++
	return b.backends[b.next%len(b.backends)], nil
}

// carry splices one connection to a backend; the end of either side ends both.
func (b *Balancer) carry(client *net.TCPConn) {
	address, err := b.choose()
	if err != nil {
		return
	}
	backend, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer backend.Close()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, backend}, {backend, client}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}

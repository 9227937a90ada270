package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The addresses of a cluster, the same in each: nobody else is in there.
const (
	controlPlaneAddress = "10.123.0.1"
	agentAddress        = "10.123.0.2"
	// NodeAddress is where the node's kubelet listens.
	NodeAddress = "10.123.1.1"
	// DeadAddress is an address of the node's where nothing listens.
	DeadAddress = "10.123.1.2"
	// ForeignAddress is where the kubelet of a foreign authority listens.
	ForeignAddress = "10.123.1.3"
	// PodAddress is the address of the pod.
	PodAddress = "10.123.2.1"
	// WebhookAddress is the address of the webhook's service, which on a real
	// node kube-proxy would lead to a pod.
	WebhookAddress = "10.96.0.10"
	// deadWebhookAddress is an address of the node's where nothing listens.
	deadWebhookAddress = "10.96.0.11"
	serviceRange       = "10.96.0.0/16"
)

// namespace is a network namespace in which no process lives: threads of this
// one visit it. It exists for as long as the file is open or a socket in it is.
type namespace struct{ file *os.File }

// newNodeNamespace makes the node's namespace, with all its addresses, joined
// to the caller's by a veth pair.
func newNodeNamespace(t testing.TB) *namespace {
	t.Helper()
	n := new(namespace)
	err := visiting(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a new network namespace: %w", err)
		}
		var err error
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
	outside := errors.Join(
		ip("link", "add", "plane", "type", "veth", "peer", "name", "node", "netns", path),
		ip("address", "add", controlPlaneAddress+"/30", "dev", "plane"),
		ip("link", "set", "plane", "up"),
	)
	inside := n.do(func() error {
		errs := []error{
			ip("link", "set", "lo", "up"),
			ip("address", "add", agentAddress+"/30", "dev", "node"),
			ip("link", "set", "node", "up"),
		}
		for _, address := range []string{NodeAddress, DeadAddress, ForeignAddress, PodAddress, WebhookAddress, deadWebhookAddress} {
			errs = append(errs, ip("address", "add", address+"/32", "dev", "lo"))
		}
		return errors.Join(errs...)
	})
	t.Cleanup(func() {
		_ = ip("link", "delete", "plane")
		n.file.Close()
	})
	if err := errors.Join(outside, inside); err != nil {
		t.Fatal(err)
	}
	return n
}

// do calls visit in the namespace: sockets that it makes and programs that it
// starts are in there for good.
func (n *namespace) do(visit func() error) error {
	return visiting(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the node's namespace: %w", err)
		}
		return visit()
	})
}

// listen listens in the namespace.
func (n *namespace) listen(t testing.TB, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	err := n.do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// dial connects from within the namespace.
func (n *namespace) dial(address string) (net.Conn, error) {
	var conn net.Conn
	err := n.do(func() (err error) {
		conn, err = net.Dial("tcp", address)
		return err
	})
	return conn, err
}

// visiting calls visit on a thread of its own, which then returns to where it
// was. A thread that cannot return stays locked, so that it ends with its
// goroutine instead of running somebody else's.
func visiting(visit func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = visit()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("leaving a namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// ip runs iproute2's program.
func ip(arguments ...string) error {
	if output, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %q: %w: %s", arguments, err, output)
	}
	return nil
}

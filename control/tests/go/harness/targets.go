package harness

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Target is a TCP server of a test, reached through the tunnel by its Address.
type Target struct {
	Address string
	// Accepted counts the connections that reached the target.
	Accepted atomic.Int64
}

// Listen serves each connection to a free port of host with serve. All
// connections are closed when the test ends.
func Listen(t testing.TB, host string, serve func(*net.TCPConn)) *Target {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	target := &Target{Address: listener.Addr().String()}
	var mutex sync.Mutex
	open := map[net.Conn]struct{}{}
	t.Cleanup(func() {
		listener.Close()
		mutex.Lock()
		defer mutex.Unlock()
		for conn := range open {
			conn.Close()
		}
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			target.Accepted.Add(1)
			mutex.Lock()
			open[conn] = struct{}{}
			mutex.Unlock()
			go func() {
				serve(conn.(*net.TCPConn))
				conn.Close()
				mutex.Lock()
				delete(open, conn)
				mutex.Unlock()
			}()
		}
	}()
	return target
}

// Echo sends back what it receives, and ends when its peer has.
func Echo(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// Payloads is an HTTP handler that makes and checks payloads:
//
//	GET  /?seed=S&bytes=N  the payload S, N bytes long
//	PUT  /?seed=S&bytes=N  200 if the body is exactly that, 422 with the reason
//	POST /                 the body comes back while it arrives
func Payloads(response http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	seed, seedErr := strconv.ParseUint(query.Get("seed"), 10, 64)
	size, sizeErr := strconv.ParseInt(query.Get("bytes"), 10, 64)
	if request.Method != http.MethodPost && (seedErr != nil || sizeErr != nil) {
		http.Error(response, "seed and bytes are needed", http.StatusBadRequest)
		return
	}
	switch request.Method {
	case http.MethodGet:
		response.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		_, _ = io.Copy(response, NewPayload(seed, size))
	case http.MethodPut:
		err := CheckPayload(request.Body, seed, size)
		if err == nil {
			err = CheckEOF(request.Body)
		}
		if err != nil {
			http.Error(response, err.Error(), http.StatusUnprocessableEntity)
		}
	case http.MethodPost:
		_ = http.NewResponseController(response).EnableFullDuplex()
		response.WriteHeader(http.StatusOK)
		_, _ = io.Copy(response, request.Body)
	default:
		http.Error(response, request.Method, http.StatusMethodNotAllowed)
	}
}

// Fetch gets a payload over HTTP and checks it.
func Fetch(client *http.Client, base string, seed uint64, size int64) error {
	response, err := client.Get(fmt.Sprintf("%s/?seed=%d&bytes=%d", base, seed, size))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET: %s", response.Status)
	}
	if err := CheckPayload(response.Body, seed, size); err != nil {
		return err
	}
	return CheckEOF(response.Body)
}

// Store puts a payload over HTTP and has the target check it.
func Store(client *http.Client, base string, seed uint64, size int64) error {
	url := fmt.Sprintf("%s/?seed=%d&bytes=%d", base, seed, size)
	request, err := http.NewRequest(http.MethodPut, url, NewPayload(seed, size))
	if err != nil {
		return err
	}
	request.ContentLength = size
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("PUT: %s: %s", response.Status, said)
	}
	return nil
}

// RefusingAddress is a loopback address that refuses connections for as long
// as the test runs: its port is bound, and nobody listens on it.
func RefusingAddress(t testing.TB) string {
	t.Helper()
	return boundSocket(t, func(int) error { return nil })
}

// BlackHole is a loopback address where SYNs vanish: a listener whose accept
// queue is full and never emptied, so that the kernel drops what else arrives.
func BlackHole(t testing.TB) string {
	t.Helper()
	address := boundSocket(t, func(fd int) error { return syscall.Listen(fd, 0) })
	for range 16 {
		conn, err := net.DialTimeout("tcp", address, 250*time.Millisecond)
		if os.IsTimeout(err) {
			return address
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the accept queue of a listener with backlog 0 does not fill")
	return ""
}

// boundSocket binds a TCP socket to a free loopback port.
func boundSocket(t testing.TB, then func(fd int) error) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := then(fd); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

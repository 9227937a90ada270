package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Double is the tests' own check: a CONNECT proxy on a Unix socket that dials
// targets itself and answers as adit has to. A suite that fails against the
// correct double has a wrong test; a suite that passes against a defective one
// has a blind test. Its "agents" are sets of connections that can be killed.
type Double struct {
	udsName string
	fault   string

	mutex    sync.Mutex
	listener net.Listener
	agents   map[int]*doubleAgent
}

// newDouble is what answers in place of the programs: in GRPC mode it is the
// doubles of Konnectivity, which have no defect to choose.
func newDouble(t testing.TB, frontend Frontend, fault string) backing {
	if frontend.ProxyProtocol == "GRPC" {
		return newKonnectivity(t, frontend)
	}
	return &Double{udsName: frontend.UDSName, fault: fault}
}

// doubleAgent holds both ends of every tunnel of one would-be agent.
type doubleAgent struct {
	alive bool
	ends  map[net.Conn]struct{}
}

// The defects that a double can have.
const (
	faultNone       = "none"
	faultEarlyBytes = "early-bytes" // target bytes in one write with the 200
	faultFullClose  = "full-close"  // the end of one direction closes both
	faultFlipByte   = "flip-byte"   // byte 100,000 from a target is changed
	faultLoseTail   = "lose-tail"   // the last chunk before a target's EOF is lost
	faultBareErrors = "bare-errors" // every failed dial is a plain 502
	faultNoRelease  = "no-release"  // a killed agent's connections stay open
)

// Faults lists the values of ADIT_DOUBLE.
func Faults() []string {
	return []string{faultNone, faultEarlyBytes, faultFullClose, faultFlipByte, faultLoseTail, faultBareErrors, faultNoRelease}
}

func knownFault(fault string) bool { return slices.Contains(Faults(), fault) }

// What a head may take.
const (
	headBytesMax = 8 << 10
	headTimeMax  = 10 * time.Second
)

// agentDialLimit is the time an agent's dial has.
const agentDialLimit = 5 * time.Second

func (d *Double) startServer(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("unix", d.udsName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.stopServer(t, syscall.SIGKILL) })
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.listener = listener
	if d.agents == nil {
		d.agents = map[int]*doubleAgent{}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go d.serve(conn.(*net.UnixConn))
		}
	}()
}

func (d *Double) stopServer(testing.TB, syscall.Signal) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.listener.Close()
	for _, agent := range d.agents {
		agent.closeAll()
	}
}

func (d *Double) startAgent(_ testing.TB, index int) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.agents[index] = &doubleAgent{alive: true, ends: map[net.Conn]struct{}{}}
}

func (d *Double) killAgent(_ testing.TB, index int) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.agents[index].alive = false
	if d.fault != faultNoRelease {
		d.agents[index].closeAll()
	}
}

func (a *doubleAgent) closeAll() {
	for end := range a.ends {
		end.Close()
	}
	clear(a.ends)
}

func (d *Double) serverReady() error {
	if d.choose() == nil {
		return errors.New("no agent")
	}
	return nil
}

func (d *Double) agentReady(index int) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if !d.agents[index].alive {
		return errors.New("killed")
	}
	return nil
}

// choose picks a living agent at random.
func (d *Double) choose() *doubleAgent {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	var living []*doubleAgent
	for _, agent := range d.agents {
		if agent.alive {
			living = append(living, agent)
		}
	}
	if len(living) == 0 {
		return nil
	}
	return living[rand.IntN(len(living))]
}

// serve answers one CONNECT.
func (d *Double) serve(client *net.UnixConn) {
	defer client.Close()
	head := &io.LimitedReader{R: client, N: headBytesMax}
	early := bufio.NewReader(head)
	_ = client.SetReadDeadline(time.Now().Add(headTimeMax))
	request, err := http.ReadRequest(early)
	_ = client.SetReadDeadline(time.Time{})
	full := head.N == 0
	head.N = math.MaxInt64
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		d.refuse(client, http.StatusRequestTimeout, "slow head")
		return
	case err != nil && full:
		d.refuse(client, http.StatusRequestHeaderFieldsTooLarge, "large head")
		return
	case err != nil:
		d.refuse(client, http.StatusBadRequest, "no HTTP")
		return
	case request.Method != http.MethodConnect:
		d.refuse(client, http.StatusMethodNotAllowed, "this proxy only supports CONNECT passthrough")
		return
	case !strings.Contains(request.RequestURI, ":"):
		d.refuse(client, http.StatusBadRequest, "no port")
		return
	}
	agent := d.choose()
	if agent == nil {
		d.refuse(client, http.StatusInternalServerError, "currently no tunnels available: No agent available")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), agentDialLimit)
	defer cancel()
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, "tcp", request.RequestURI)
	if err != nil {
		d.refuse(client, statusOf(err.Error()), err.Error())
		return
	}
	target := dialed.(*net.TCPConn)
	defer target.Close()
	d.mutex.Lock()
	agent.ends[client], agent.ends[target] = struct{}{}, struct{}{}
	d.mutex.Unlock()
	answer := []byte("HTTP/1.1 200 Connection Established\r\n\r\n")
	if d.fault == faultEarlyBytes {
		answer = append(answer, firstBytes(target)...)
	}
	if _, err := client.Write(answer); err != nil {
		return
	}
	d.splice(client, early, target)
}

// splice carries both directions, each to its own end.
func (d *Double) splice(client *net.UnixConn, early io.Reader, target *net.TCPConn) {
	var directions sync.WaitGroup
	directions.Go(func() {
		_, _ = io.Copy(target, early)
		d.finish(target, client)
	})
	directions.Go(func() {
		waitTaken(client)
		_, _ = io.Copy(client, d.damage(target))
		d.finish(client, target)
	})
	directions.Wait()
}

// halfCloser is what both kinds of connection have in common.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// finish hands the end of one direction on.
func (d *Double) finish(to, from halfCloser) {
	_ = to.CloseWrite()
	if d.fault == faultFullClose {
		to.Close()
		from.Close()
	}
}

// refuse answers a failed dial: the reason in the reason phrase and as body.
func (d *Double) refuse(client io.Writer, code int, reason string) {
	phrase := reason
	if d.fault == faultBareErrors {
		code, phrase = http.StatusBadGateway, "Bad Gateway"
	}
	fmt.Fprintf(client, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s",
		code, phrase, reason)
}

// statusOf maps an agent's dial error as Konnectivity's server does.
func statusOf(reason string) int {
	switch {
	case strings.Contains(reason, "timeout"), strings.Contains(reason, "deadline exceeded"):
		return http.StatusGatewayTimeout
	case strings.Contains(reason, "too many open files"):
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadGateway
	}
}

// waitTaken returns when the reader has taken what was written to the socket:
// what a Unix socket's output queue counts is what its peer has not read.
func waitTaken(client *net.UnixConn) {
	raw, err := client.SyscallConn()
	if err != nil {
		return
	}
	for {
		queued := 0
		if raw.Control(func(fd uintptr) {
			queued, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		}) != nil || err != nil {
			return
		}
		if queued == 0 {
			// The read that took it may still be looking for more.
			time.Sleep(2 * time.Millisecond)
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// firstBytes is what a target says at once.
func firstBytes(target net.Conn) []byte {
	buffer := make([]byte, 512)
	_ = target.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	n, _ := target.Read(buffer)
	_ = target.SetReadDeadline(time.Time{})
	return buffer[:n]
}

// damage wraps a target's bytes in the double's defect.
func (d *Double) damage(target io.Reader) io.Reader {
	switch d.fault {
	case faultFlipByte:
		return &flipped{from: target, at: 100_000}
	case faultLoseTail:
		return &curtailed{from: target}
	default:
		return target
	}
}

// flipped changes one byte.
type flipped struct {
	from io.Reader
	at   int
}

func (f *flipped) Read(into []byte) (int, error) {
	n, err := f.from.Read(into)
	if f.at >= 0 && f.at < n {
		into[f.at] ^= 0x20
	}
	f.at -= n
	return n, err
}

// curtailed is always one chunk behind and forgets it at the end.
type curtailed struct {
	from io.Reader
	held []byte
}

func (b *curtailed) Read(into []byte) (int, error) {
	for {
		chunk := make([]byte, min(1024, len(into)))
		n, err := b.from.Read(chunk)
		if err != nil {
			return 0, err
		}
		out := copy(into, b.held)
		b.held = chunk[:n]
		if out > 0 {
			return out, nil
		}
	}
}

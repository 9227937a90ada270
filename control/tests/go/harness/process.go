package harness

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// logTailBytes is how much of a program's output a failed test shows.
const logTailBytes = 24 << 10

const (
	// settleLimit is longer than any dial may be pending.
	settleLimit = 8 * time.Second
	// descriptorsSpare allows for a health check under way and for what a
	// resolver library keeps.
	descriptorsSpare = 4
)

// Process is one running program, its output kept in a file of the test's
// directory.
type Process struct {
	name    string
	command *exec.Cmd
	log     string
	// ending is set before the harness itself ends the program.
	ending atomic.Bool
	// descriptors is how many the program had open when it was ready and idle,
	// zero where that is no question.
	descriptors int
	// serves is the program that has to have come to rest before this one is
	// killed, nil where there is none. An agent that is killed takes answers
	// along that were on their way, and the server waits for those longer than
	// settleLimit.
	serves func() *Process
	// exited is closed once the program is gone; status is valid from then on.
	exited chan struct{}
	status error
}

// StartProcess starts the program and has the test end it. A program that ends
// before it was told to fails the test.
func StartProcess(t testing.TB, dir, name, program string, arguments ...string) *Process {
	t.Helper()
	logPath := filepath.Join(dir, name+".log")
	output, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	command := exec.Command(program, arguments...)
	command.Dir, command.Stdout, command.Stderr = dir, output, output
	// A test binary that is killed or times out takes its programs with it.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	p := &Process{name: name, command: command, log: logPath, exited: make(chan struct{})}
	go func() {
		p.status = command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() { p.finish(t) })
	return p
}

// Ready notes the state that the program has to come back to.
func (p *Process) Ready(t testing.TB) {
	t.Helper()
	var err error
	if p.descriptors, err = p.openDescriptors(); err != nil {
		t.Fatal(err)
	}
}

// openDescriptors counts the program's file descriptors.
func (p *Process) openDescriptors() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.command.Process.Pid))
	return len(open), err
}

// settled is nil once the program has no more descriptors than at its start:
// by now the test has closed everything that it opened through it.
func (p *Process) settled() error {
	open, err := p.openDescriptors()
	if err != nil {
		return err
	}
	if p.descriptors > 0 && open > p.descriptors+descriptorsSpare {
		return fmt.Errorf("%s has %d descriptors open, %d when it was ready", p.name, open, p.descriptors)
	}
	return nil
}

// finish ends the program at the end of the test and, where the test failed,
// shows what the program said.
func (p *Process) finish(t testing.TB) {
	if !p.ending.Load() && !t.Failed() {
		err := Within(settleLimit, "the release of descriptors", p.settled)
		if err == nil && p.serves != nil && !p.serves().ending.Load() {
			err = Within(settleLimit, "the release of descriptors", p.serves().settled)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if !p.ending.Load() {
		select {
		case <-p.exited:
			t.Errorf("%s ended by itself: %v", p.name, p.status)
		default:
			p.signal(syscall.SIGKILL)
		}
	}
	<-p.exited
	if t.Failed() {
		t.Logf("--- %s %q\n%s", p.name, p.command.Args[1:], tail(p.log))
	}
}

// signal sends a signal that is meant to end the program.
func (p *Process) signal(signal syscall.Signal) {
	p.ending.Store(true)
	// An error says that the program is gone already, which is what was wanted.
	_ = p.command.Process.Signal(signal)
}

// Stop signals the program and waits for its end.
func (p *Process) Stop(signal syscall.Signal, within time.Duration) error {
	p.signal(signal)
	return p.await(within)
}

// await waits for the end of a program that was signalled.
func (p *Process) await(within time.Duration) error {
	select {
	case <-p.exited:
		return p.status
	case <-time.After(within):
		return fmt.Errorf("%s still runs %v after its signal", p.name, within)
	}
}

// Alive returns an error with what the program said, if it has ended.
func (p *Process) Alive() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended by itself: %v\n%s", p.name, p.status, tail(p.log))
	default:
		return nil
	}
}

// Get asks one of the program's health endpoints and requires a 200.
func (p *Process) Get(port int, path string) error {
	if err := p.Alive(); err != nil {
		return err
	}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", p.name, path, response.Status, body)
	}
	return nil
}

// tail returns the end of a log.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(content) > logTailBytes {
		content = append([]byte("[…]"), content[len(content)-logTailBytes:]...)
	}
	return string(content)
}

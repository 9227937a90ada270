package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// containers is the node's container runtime. Its containers are not contained:
// a command runs as a program of this machine, in the test's own namespace.
type containers struct{ node *Node }

// ExecInContainer runs a command. Its exit code is the stream's.
func (containers) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, complaints io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	program := exec.CommandContext(ctx, command[0], command[1:]...)
	if out != nil {
		program.Stdout = out
	}
	if complaints != nil {
		program.Stderr = complaints
	}
	if in != nil {
		// Not program.Stdin: Wait would wait for the client to end its input,
		// which one that waits for the command's end never does.
		input, err := program.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(input, in)
			input.Close()
		}()
	}
	err := program.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

// AttachContainer is the pod's own process: it greets and then returns its
// input, until that ends.
func (containers) AttachContainer(_ context.Context, _, _, container string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	if _, err := io.WriteString(out, AttachGreeting); err != nil || in == nil {
		return err
	}
	_, err := io.Copy(out, in)
	return err
}

// AttachGreeting is what the pod's process prints to whom attaches.
const AttachGreeting = "attached\n"

// PortForward connects to a port of the pod.
func (c containers) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := c.node.net.dial(fmt.Sprintf("%s:%d", PodAddress, port))
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	return err
}

// Log is a container's output. Followers see what is added while they are there.
type Log struct {
	mutex   sync.Mutex
	changed *sync.Cond
	content []byte
	ended   bool
}

// Add adds to the output.
func (l *Log) Add(text string) {
	l.change(func() { l.content = append(l.content, text...) })
}

// End ends the output, as the container's end does: followers are done. A later
// follower is, too.
func (l *Log) End() { l.change(func() { l.ended = true }) }

// Reset is a new container without output.
func (l *Log) Reset() { l.change(func() { l.content, l.ended = nil, false }) }

func (l *Log) change(how func()) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	how()
	if l.changed != nil {
		l.changed.Broadcast()
	}
}

// next returns what follows offset, once there is something or nothing more
// will come.
func (l *Log) next(ctx context.Context, offset int) (more []byte, ended bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.changed == nil {
		l.changed = sync.NewCond(&l.mutex)
	}
	for len(l.content) <= offset && !l.ended && ctx.Err() == nil {
		l.changed.Wait()
	}
	return l.content[min(offset, len(l.content)):], l.ended || ctx.Err() != nil
}

// serve sends the output, and goes on with what is added if it is followed.
func (l *Log) serve(w http.ResponseWriter, r *http.Request, follow bool) {
	stop := context.AfterFunc(r.Context(), func() { l.change(func() {}) })
	defer stop()
	if !follow {
		l.mutex.Lock()
		content := l.content
		l.mutex.Unlock()
		_, _ = w.Write(content)
		return
	}
	for offset := 0; ; {
		more, ended := l.next(r.Context(), offset)
		if _, err := w.Write(more); err != nil || ended {
			return
		}
		offset += len(more)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

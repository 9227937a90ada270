package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// CommandLimit bounds one kubectl command. It is generous: many run at once,
// on machines that do other things, too.
const CommandLimit = 90 * time.Second

// Result is what a kubectl command ended with.
type Result struct {
	// Out and Complaints are its standard output and error.
	Out, Complaints string
	// Code is its exit code.
	Code int
	// Took is how long it ran.
	Took time.Duration
}

// String is for messages of failed tests.
func (r Result) String() string {
	return fmt.Sprintf("exit code %d after %v\n--- standard output: %.2000s\n--- standard error: %.2000s",
		r.Code, r.Took.Round(time.Millisecond), r.Out, r.Complaints)
}

// Kubectl runs kubectl to its end.
func (c *Cluster) Kubectl(arguments ...string) Result { return c.KubectlWith(nil, nil, arguments...) }

// KubectlWith runs kubectl to its end with this standard input and with further
// variables in its environment.
func (c *Cluster) KubectlWith(in io.Reader, environment []string, arguments ...string) Result {
	var out bytes.Buffer
	result := c.KubectlInto(&out, in, environment, arguments...)
	result.Out = out.String()
	return result
}

// KubectlInto is KubectlWith for outputs that are looked at while they come.
func (c *Cluster) KubectlInto(out io.Writer, in io.Reader, environment []string, arguments ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), CommandLimit)
	defer cancel()
	command := c.command(ctx, environment, arguments...)
	var complaints bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = in, out, &complaints
	command.WaitDelay = time.Second
	started := time.Now()
	err := command.Run()
	result := Result{Complaints: complaints.String(), Took: time.Since(started), Code: command.ProcessState.ExitCode()}
	if err != nil {
		result.Complaints += fmt.Sprintf("\n(%v)", err)
	}
	return result
}

// KubectlStart starts a kubectl that runs until it is told to end, which the
// test's end does at the latest, and returns its standard output.
func (c *Cluster) KubectlStart(t testing.TB, arguments ...string) (out io.Reader, command *exec.Cmd) {
	t.Helper()
	return c.KubectlStartWith(t, nil, arguments...)
}

// KubectlStartWith is KubectlStart with further variables.
func (c *Cluster) KubectlStartWith(t testing.TB, environment []string, arguments ...string) (out io.Reader, command *exec.Cmd) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command = c.command(ctx, environment, arguments...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if command.ProcessState == nil {
			_ = command.Wait()
		}
		if t.Failed() {
			t.Logf("--- kubectl %q\n%s", arguments, complaints.String())
		}
	})
	return out, command
}

func (c *Cluster) command(ctx context.Context, environment []string, arguments ...string) *exec.Cmd {
	always := []string{
		"--server=" + c.host(), "--certificate-authority=" + filepath.Join(c.dir, "kubernetes-ca.crt"),
		"--client-certificate=" + c.adminCert, "--client-key=" + c.adminKey,
	}
	// Flags of kubectl itself stand before the first argument, because what
	// follows a `--` is not for it.
	command := exec.CommandContext(ctx, program("kubectl"), append(always, arguments...)...)
	// No configuration or cache of whoever runs this.
	command.Env = append(os.Environ(), append(environment, "HOME="+c.dir, "KUBECONFIG="+filepath.Join(c.dir, "none"))...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command
}

package kube

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"adit.test/counterparts/harness"
	"adit.test/kube/cluster"
)

// Both protocols that kubectl has for exec and attach: kube-apiserver speaks
// SPDY to the kubelet in either case, but copies differently.
var execProtocols = []struct{ name, variable string }{
	{"WebSocket", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"},
	{"SPDY", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false"},
}

// kubectl exec: both outputs, standard input to its end, and the exit code.
func execCommands(t *testing.T, c *cluster.Cluster) {
	for _, protocol := range execProtocols {
		for _, command := range []struct {
			name, in, script, out, complaints string
			code                              int
		}{
			{"success", "", "echo said", "said\n", "", 0},
			{"exit code", "", "echo said; echo complained >&2; exit 7", "said\n", "complained\n", 7},
			{"another exit code", "", "exit 255", "", "", 255},
			{"standard input", "one\ntwo\n", "wc -l; exit 3", "2\n", "", 3},
			{"input unread", "nobody reads this", "echo done", "done\n", "", 0},
		} {
			t.Run(protocol.name+"/"+command.name, func(t *testing.T) {
				arguments := []string{"exec", cluster.PodName, "--", "sh", "-c", command.script}
				var in io.Reader
				if command.in != "" {
					arguments = append([]string{"exec", "-i"}, arguments[1:]...)
					in = strings.NewReader(command.in)
				}
				result := c.KubectlWith(in, []string{protocol.variable}, arguments...)
				if result.Code != command.code || result.Out != command.out || !strings.HasPrefix(result.Complaints, command.complaints) {
					t.Errorf("expected exit code %d, output %q and %q: %v", command.code, command.out, command.complaints, result)
				}
			})
		}
	}
}

// kubectl exec with 64 MiB: to the command, which says what it saw; from the
// command; and both ways at once.
func execBulk(t *testing.T, c *cluster.Cluster) {
	const size = 64 * harness.Mebibyte
	file := filepath.Join(t.TempDir(), "payload")
	sum := writePayload(t, file, 72, size)
	for _, protocol := range execProtocols {
		environment := []string{protocol.variable}
		t.Run(protocol.name+"/in", func(t *testing.T) {
			result := c.KubectlWith(harness.NewPayload(72, size), environment, "exec", "-i", cluster.PodName, "--", "sha256sum")
			if result.Code != 0 || !strings.HasPrefix(result.Out, sum+" ") {
				t.Errorf("expected the hash %s: %v", sum, result)
			}
		})
		t.Run(protocol.name+"/out", func(t *testing.T) {
			checkBulk(t, size, 72, func(out io.Writer) cluster.Result {
				return c.KubectlInto(out, nil, environment, "exec", cluster.PodName, "--", "cat", file)
			})
		})
		t.Run(protocol.name+"/both ways", func(t *testing.T) {
			checkBulk(t, size, 73, func(out io.Writer) cluster.Result {
				return c.KubectlInto(out, harness.NewPayload(73, size), environment, "exec", "-i", cluster.PodName, "--", "cat")
			})
		})
	}
}

// checkBulk checks a command's output by position while it comes.
func checkBulk(t *testing.T, size int64, seed uint64, run func(io.Writer) cluster.Result) {
	t.Helper()
	read, write := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		err := harness.CheckPayload(read, seed, size)
		if err == nil {
			err = harness.CheckEOF(read)
		}
		// A wrong byte ends the command instead of blocking it.
		read.CloseWithError(err)
		checked <- err
	}()
	result := run(write)
	write.Close()
	if err := <-checked; err != nil || result.Code != 0 {
		t.Errorf("%v: %v", err, result)
	}
	t.Logf("%d MiB in %v", size/harness.Mebibyte, result.Took)
}

// writePayload writes a payload into a file and returns its hash.
func writePayload(t *testing.T, path string, seed uint64, size int64) string {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(file, io.TeeReader(harness.NewPayload(seed, size), sum)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// kubectl attach -i: the container's own process, its output and its input.
func attach(t *testing.T, c *cluster.Cluster) {
	for _, protocol := range execProtocols {
		t.Run(protocol.name, func(t *testing.T) {
			said := "hello\nand good-bye\n"
			result := c.KubectlWith(strings.NewReader(said), []string{protocol.variable}, "attach", "-i", cluster.PodName)
			if result.Code != 0 || result.Out != cluster.AttachGreeting+said {
				t.Error(result)
			}
		})
	}
}

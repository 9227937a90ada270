package counterparts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// kubectl makes an executor as kubectl does, by SPDY or by WebSocket.
func kubectl(t *testing.T, front string, protocol string) remotecommand.Executor {
	t.Helper()
	configuration := &restclient.Config{Host: front}
	var executor remotecommand.Executor
	var err error
	if protocol == "spdy" {
		var location *url.URL
		if location, err = url.Parse(front); err == nil {
			executor, err = remotecommand.NewSPDYExecutor(configuration, http.MethodPost, location)
		}
	} else {
		executor, err = remotecommand.NewWebSocketExecutorForProtocols(configuration, http.MethodGet, front, protocol)
	}
	if err != nil {
		t.Fatal(err)
	}
	return executor
}

// kubectl exec -i: standard input ends while output still flows, both outputs
// are exact, and the exit status arrives.
func TestExec(t *testing.T) {
	tunnel := harness.Start(t, 1)
	node := newNode(t)
	transport := tunnel.Transport(t, suite.ApiserverTLS(t, node.ca))
	cases := []struct {
		name     string
		protocol string
		handler  func(*url.URL, http.RoundTripper) http.Handler
		// ends: the protocol can say that standard input has ended.
		ends bool
	}{
		{"SPDY", "spdy", upgradeAware, true},
		{"WebSocket translated to SPDY", "v5.channel.k8s.io", translator, true},
		{"WebSocket", "v4.channel.k8s.io", upgradeAware, false},
	}
	for _, c := range cases {
		for _, size := range []int64{0, 1, 4 * harness.Mebibyte} {
			t.Run(fmt.Sprintf("%s/%d", c.name, size), func(t *testing.T) {
				command := []string{"cat"}
				if !c.ends {
					command = []string{"head", fmt.Sprint(size)}
				}
				request, err := node.GetExec(&runtimeapi.ExecRequest{
					ContainerId: "container", Cmd: command, Stdin: true, Stdout: true, Stderr: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				front := apiserver(t, c.handler, transport, request.Url)
				ctx, cancel := context.WithTimeout(t.Context(), harness.RequestLimit)
				defer cancel()
				var out, complaints bytes.Buffer
				err = kubectl(t, front.URL, c.protocol).StreamWithContext(ctx, remotecommand.StreamOptions{
					Stdin: harness.NewPayload(41, size), Stdout: &out, Stderr: &complaints,
				})
				if err := harness.CheckPayload(&out, 41, size); err != nil {
					t.Error("standard output: ", err)
				}
				if err := harness.CheckEOF(&out); err != nil {
					t.Error("standard output: ", err)
				}
				expected := ""
				if c.ends {
					sum := sha256.New()
					_, _ = io.Copy(sum, harness.NewPayload(41, size))
					expected = report(size, sum.Sum(nil))
					var exit interface{ ExitStatus() int }
					if !errors.As(err, &exit) || exit.ExitStatus() != exitStatus {
						t.Errorf("expected exit status %d, got: %v", exitStatus, err)
					}
				} else if err != nil {
					t.Error(err)
				}
				if complaints.String() != expected {
					t.Errorf("standard error: expected %q, got %q", expected, complaints.String())
				}
			})
		}
	}
}

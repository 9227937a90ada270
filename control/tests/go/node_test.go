package counterparts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/proxy"
	translating "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// node is a kubelet's streaming server over HTTPS, with this runtime behind it.
type node struct {
	streaming.Server
	server *httptest.Server
	ca     *harness.CA
}

func newNode(t *testing.T) *node {
	t.Helper()
	configuration := streaming.DefaultConfig
	configuration.BaseURL = &url.URL{Scheme: "https", Path: "/"}
	server, err := streaming.NewServer(configuration, runtime{})
	if err != nil {
		t.Fatal(err)
	}
	ca := harness.NewCA(t, "kubernetes")
	serving := ca.KubeletServing(t, "node-1", suite.Loopback, time.Now().Add(time.Hour))
	https, _ := suite.Kubelet(t, serving, ca, false, server)
	// The server builds the locations it hands out from this very URL.
	configuration.BaseURL.Host = https.Listener.Addr().String()
	return &node{Server: server, server: https, ca: ca}
}

// runtime is a container runtime with two commands and an echo in every port.
type runtime struct{}

// exitStatus is what the command `cat` ends with: not zero, so that it cannot
// come from anywhere else.
const exitStatus = 7

// Exec knows `cat`, which copies standard input to its end, reports on
// standard error what it saw and exits with exitStatus; and `head N`, which
// copies N bytes and exits successfully.
func (runtime) Exec(_ context.Context, _ string, command []string, in io.Reader, out, errors io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	switch command[0] {
	case "cat":
		sum := sha256.New()
		n, err := io.Copy(out, io.TeeReader(in, sum))
		if err != nil {
			return err
		}
		fmt.Fprint(errors, report(n, sum.Sum(nil)))
		return utilexec.CodeExitError{Err: fmt.Errorf("exit status %d", exitStatus), Code: exitStatus}
	case "head":
		n, err := strconv.ParseInt(command[1], 10, 64)
		if err != nil {
			return err
		}
		_, err = io.CopyN(out, in, n)
		return err
	}
	return fmt.Errorf("%s: command not found", command[0])
}

// Attach is not used here.
func (runtime) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.New("attach: not supported")
}

// PortForward greets and then echoes until its peer has ended.
func (runtime) PortForward(_ context.Context, _ string, _ int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	return suite.GreetAndEcho(stream)
}

// report is what `cat` writes to standard error.
func report(n int64, sum []byte) string {
	return fmt.Sprintf("%d bytes, sha256 %s\n", n, hex.EncodeToString(sum))
}

// apiserver stands where kube-apiserver stands: clients' upgrades come in, and
// a handler takes them to where location points, dialing through the tunnel.
func apiserver(t *testing.T, handler func(location *url.URL, transport http.RoundTripper) http.Handler, transport http.RoundTripper, location string) *httptest.Server {
	t.Helper()
	parsed, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(handler(parsed, transport))
	t.Cleanup(front.Close)
	return front
}

// upgradeAware is the handler for exec, attach, port-forward and all proxying.
func upgradeAware(location *url.URL, transport http.RoundTripper) http.Handler {
	return proxy.NewUpgradeAwareHandler(location, transport, false, true, responder{})
}

// translator is the handler for the WebSocket exec of newer kubectls: it
// speaks WebSocket to the client and SPDY to the kubelet.
func translator(location *url.URL, transport http.RoundTripper) http.Handler {
	return translating.NewStreamTranslatorHandler(location, transport, 0,
		translating.Options{Stdin: true, Stdout: true, Stderr: true})
}

// tunneling is the handler for the port-forward of newer kubectls: SPDY inside
// WebSocket from the client, plain SPDY to the kubelet.
func tunneling(location *url.URL, transport http.RoundTripper) http.Handler {
	return translating.NewTunnelingHandler(upgradeAware(location, transport))
}

type responder struct{}

// Error makes a failed proxying visible to the client under test.
func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

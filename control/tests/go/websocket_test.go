package counterparts

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// The WebSocket of an application in a pod, reached through the pod or service
// proxy: messages of many sizes, pings, and the closing handshake.
func TestWebSocket(t *testing.T) {
	tunnel := harness.Start(t, 1)
	ca := harness.NewCA(t, "kubernetes")
	application := http.HandlerFunc(echoMessages)
	plain := httptest.NewServer(application)
	t.Cleanup(plain.Close)
	encrypted, _ := suite.Kubelet(t, ca.KubeletServing(t, "node-1", suite.Loopback, time.Now().Add(time.Hour)), ca, false, application)
	transport := tunnel.Transport(t, suite.ApiserverTLS(t, ca))

	for _, location := range []string{plain.URL, encrypted.URL} {
		t.Run(strings.SplitN(location, ":", 2)[0], func(t *testing.T) {
			front := apiserver(t, upgradeAware, transport, location)
			dialer := websocket.Dialer{HandshakeTimeout: 10 * time.Second}
			conn, _, err := dialer.Dial(strings.Replace(front.URL, "http", "ws", 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			pongs := 0
			conn.SetPongHandler(func(string) error { pongs++; return nil })
			sizes := []int64{0, 1, 125, 126, 65535, 65536, harness.Mebibyte}
			for _, size := range sizes {
				if err := converse(conn, size); err != nil {
					t.Fatalf("message of %d bytes: %v", size, err)
				}
			}
			if pongs != len(sizes) {
				t.Errorf("%d pings, %d pongs", len(sizes), pongs)
			}
			parting := websocket.FormatCloseMessage(4321, "enough")
			if err := conn.WriteControl(websocket.CloseMessage, parting, time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			_, _, err = conn.ReadMessage()
			var closed *websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != 4321 {
				t.Errorf("expected the closing handshake with code 4321, got: %v", err)
			}
		})
	}
}

// converse sends a ping and a message, and expects the message back.
func converse(conn *websocket.Conn, size int64) error {
	message, err := io.ReadAll(harness.NewPayload(51, size))
	if err != nil {
		return err
	}
	if err := conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)); err != nil {
		return err
	}
	if err := conn.WriteMessage(websocket.BinaryMessage, message); err != nil {
		return err
	}
	_, answer, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	if !bytes.Equal(answer, message) {
		return errors.New("another message came back")
	}
	return nil
}

// echoMessages is the application.
func echoMessages(response http.ResponseWriter, request *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(response, request, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// A target that refuses the upgrade, and one that cannot be dialed: the client
// of the handler is told which.
func TestUpgradeRefused(t *testing.T) {
	tunnel := harness.Start(t, 1)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not today", http.StatusForbidden)
	}))
	t.Cleanup(refusing.Close)
	for _, c := range []struct {
		name, location string
		status         int
		says           string
	}{
		{"by the target", refusing.URL, http.StatusForbidden, "not today"},
		{"by the network", "http://" + harness.RefusingAddress(t), http.StatusServiceUnavailable, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			front := apiserver(t, upgradeAware, tunnel.Transport(t, nil), c.location)
			_, response, err := websocket.DefaultDialer.Dial(strings.Replace(front.URL, "http", "ws", 1), nil)
			if !errors.Is(err, websocket.ErrBadHandshake) {
				t.Fatalf("expected a bad handshake, got: %v", err)
			}
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != c.status || !strings.Contains(string(body), c.says) {
				t.Errorf("expected %d with %q, got %d with %q", c.status, c.says, response.StatusCode, body)
			}
		})
	}
}

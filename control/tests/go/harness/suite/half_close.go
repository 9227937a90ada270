package suite

import (
	"io"
	"net"
	"testing"

	"adit.test/counterparts/harness"
)

// The client ends its direction first: the target sees EOF after every byte,
// and its answer, begun only then, still arrives whole.
func ClientHalfClose(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	for _, c := range []struct {
		name          string
		asked, answer int64
	}{{"nothing", 0, 10}, {"small", 100, 100}, {"large", 4 * harness.Mebibyte, 4 * harness.Mebibyte}, {"no answer", 100, 0}} {
		t.Run(c.name, func(t *testing.T) {
			received := make(chan error, 1)
			target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
				err := harness.CheckPayload(conn, 1, c.asked)
				if err == nil {
					err = harness.CheckEOF(conn)
				}
				received <- err
				_, _ = io.Copy(conn, harness.NewPayload(2, c.answer))
			})
			conn := tunnel.MustDial(t, target.Address)
			if _, err := io.Copy(conn, harness.NewPayload(1, c.asked)); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			// The answer first: where it is cut off, so is what the target says.
			if err := harness.CheckPayload(conn, 2, c.answer); err != nil {
				t.Fatal("answer: ", err)
			}
			if err := harness.CheckEOF(conn); err != nil {
				t.Fatal("answer: ", err)
			}
			if err := <-received; err != nil {
				t.Fatal("at the target: ", err)
			}
		})
	}
}

// The target ends its direction first: the client sees EOF, and what it sends
// afterwards still arrives.
func TargetHalfClose(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	received := make(chan error, 1)
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.Copy(conn, harness.NewPayload(3, harness.Mebibyte))
		_ = conn.CloseWrite()
		err := harness.CheckPayload(conn, 4, 2*harness.Mebibyte)
		if err == nil {
			err = harness.CheckEOF(conn)
		}
		received <- err
	})
	conn := tunnel.MustDial(t, target.Address)
	if err := harness.CheckPayload(conn, 3, harness.Mebibyte); err != nil {
		t.Fatal(err)
	}
	if err := harness.CheckEOF(conn); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(conn, harness.NewPayload(4, 2*harness.Mebibyte)); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal("at the target: ", err)
	}
}

// A client that closes for good ends the target's connection as well.
func ClientClose(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	ended := make(chan struct{})
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.Copy(io.Discard, conn)
		close(ended)
	})
	conn := tunnel.MustDial(t, target.Address)
	if _, err := io.Copy(conn, harness.NewPayload(5, 1000)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	awaitClosed(t, ended, "the target's connection after the client closed")
}

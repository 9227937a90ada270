package suite

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// The egress dialer fails a dial when a single byte stands behind the 200. A
// target that speaks first must therefore be held back, and lose nothing.
func ServerFirst(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	smtp := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		fmt.Fprint(conn, Greeting)
		commands := bufio.NewReader(conn)
		for {
			command, err := commands.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "250 %s", command)
		}
	})
	talk := func() error {
		conn, err := tunnel.DialWithin(10*time.Second, smtp.Address)
		if err != nil {
			return err
		}
		defer conn.Close()
		replies := bufio.NewReader(conn)
		for _, step := range []struct{ say, expect string }{
			{"", Greeting}, {"EHLO apiserver\r\n", "250 EHLO apiserver\r\n"}, {"QUIT\r\n", "250 QUIT\r\n"},
		} {
			if _, err := io.WriteString(conn, step.say); err != nil {
				return err
			}
			heard := make([]byte, len(step.expect))
			if _, err := io.ReadFull(replies, heard); err != nil || string(heard) != step.expect {
				return fmt.Errorf("after %q: expected %q, got %q, %v", step.say, step.expect, heard, err)
			}
		}
		return nil
	}
	t.Run("one by one", func(t *testing.T) {
		for repetition := range 250 {
			if err := talk(); err != nil {
				t.Fatalf("dial %d: %v", repetition, err)
			}
		}
	})
	t.Run("crowd", func(t *testing.T) {
		var crowd errgroup.Group
		crowd.SetLimit(32)
		for range 250 {
			crowd.Go(talk)
		}
		if err := crowd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// Greeting is what a server that speaks first says.
var Greeting = "220-adit.test ESMTP\r\n220 " + strings.Repeat("ready ", 20) + "\r\n"

// A target that says its piece and closes, to a client that never writes: the
// bytes and the end both arrive, from a few bytes to more than any buffer.
func ServerFirstAndOnly(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	for _, size := range []int64{0, 1, 26, 5000, 70_000, 3 * harness.Mebibyte} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			daytime := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
				_, _ = io.Copy(conn, harness.NewPayload(13, size))
			})
			for repetition := range 20 {
				conn, err := tunnel.DialWithin(10*time.Second, daytime.Address)
				if err != nil {
					t.Fatalf("dial %d: %v", repetition, err)
				}
				err = harness.CheckPayload(conn, 13, size)
				if err == nil {
					err = harness.CheckEOF(conn)
				}
				conn.Close()
				if err != nil {
					t.Fatalf("dial %d: %v", repetition, err)
				}
			}
		})
	}
}

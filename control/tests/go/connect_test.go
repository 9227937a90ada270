package counterparts

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"adit.test/counterparts/harness"
)

// established is the whole answer to a CONNECT that worked: no header fields.
const established = "HTTP/1.1 200 Connection Established\r\n\r\n"

// frontend connects to the server's socket without any client in between.
func frontend(t *testing.T, tunnel *harness.Tunnel) harness.Conn {
	t.Helper()
	conn, err := tunnel.Frontend.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Heads that other clients write, or that arrive in other pieces: the
// request-target alone decides where the connection goes, and what the client
// sent along with its head is its first data.
func TestConnectHeads(t *testing.T) { harness.OverEach(t, connectHeads) }

func connectHeads(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	cases := []struct {
		name, head, early string
		bytewise          bool
	}{
		{name: "kube-apiserver", head: "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"},
		{name: "curl", head: "CONNECT %s HTTP/1.1\r\nHost: elsewhere.invalid:443\r\nUser-Agent: curl/8.5.0\r\nProxy-Connection: Keep-Alive\r\n\r\n"},
		{name: "byte by byte", head: "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", bytewise: true},
		{name: "data at once", head: "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", early: "said before the answer"},
		{name: "much data at once", head: "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", early: strings.Repeat("0123456789abcdef", 4096)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := frontend(t, tunnel)
			whole := fmt.Appendf(nil, c.head, echo.Address)
			step := len(whole) + len(c.early)
			if c.bytewise {
				step = 1
			}
			for rest := append(whole, c.early...); len(rest) > 0; rest = rest[min(step, len(rest)):] {
				if _, err := conn.Write(rest[:min(step, len(rest))]); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, conn, established)
			expect(t, conn, c.early)
			if _, err := io.WriteString(conn, "said after it"); err != nil {
				t.Fatal(err)
			}
			expect(t, conn, "said after it")
		})
	}
}

// expect reads exactly the given text.
func expect(t *testing.T, from io.Reader, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(from, got); err != nil || string(got) != text {
		t.Fatalf("expected %.80q, got %d bytes %.80q, %v", text, n, got[:n], err)
	}
}

// What is no CONNECT gets a clear answer and a close, and disturbs nobody.
func TestWrongHeads(t *testing.T) { harness.OverEach(t, wrongHeads) }

func wrongHeads(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	bystander := tunnel.MustDial(t, echo.Address)
	large := strings.Repeat("x", 9000)
	cases := []struct{ name, head, answer, says string }{
		{"another method", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 405 ", "this proxy only supports CONNECT passthrough"},
		{"garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "HTTP/1.1 400 ", ""},
		{"no port", "CONNECT 127.0.0.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "HTTP/1.1 400 ", ""},
		{"8 KiB are exceeded", "CONNECT 127.0.0.1:1 HTTP/1.1\r\nX: " + large + "\r\n\r\n", "HTTP/1.1 431 ", ""},
	}
	for number, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := frontend(t, tunnel)
			// The answer may come, and the connection end, before all is written.
			_, _ = io.WriteString(conn, c.head)
			answer := new(bytes.Buffer)
			if _, err := io.Copy(answer, conn); err != nil && !strings.HasPrefix(answer.String(), c.answer) {
				t.Fatalf("answer %q, %v", answer, err)
			}
			if !strings.HasPrefix(answer.String(), c.answer) || !strings.Contains(answer.String(), c.says) {
				t.Errorf("expected %q with %q, got %q", c.answer, c.says, answer)
			}
			if err := ping(bystander, uint64(number)); err != nil {
				t.Errorf("another connection was disturbed: %v", err)
			}
		})
	}
}

// A head that never ends is answered and closed after 10 s.
func TestSlowHead(t *testing.T) { harness.WaitOverEach(t, slowHead) }

func slowHead(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	conn := frontend(t, tunnel)
	if _, err := io.WriteString(conn, "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: "); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("expected 408, got %q, %v", answer, err)
	}
	if took := time.Since(started); took < 8*time.Second || took > 12*time.Second {
		t.Errorf("the answer came after %v, expected 10 s", took)
	}
}

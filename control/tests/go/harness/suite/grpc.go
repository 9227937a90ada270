package suite

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"adit.test/counterparts/harness"
)

// RunGRPC runs what every version of the dialer has to find in GRPC mode. All
// but GRPCBlackHole and GRPCCutOff, which mostly wait. Where a target would speak first, it is asked
// to: konnectivity-client loses what arrives together with the dial's answer.
func RunGRPC(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, harness.Transport)
	}{
		{"PlainHTTP", PlainHTTP},
		{"HTTPBodies", HTTPBodies},
		{"HTTPFullDuplex", HTTPFullDuplex},
		{"KubeletServingCertificate", KubeletServingCertificate},
		{"HTTP2", HTTP2},
		{"ManyDialsAtOnce", ManyDialsAtOnce},
		{"DialErrors", grpcDialErrors},
		{"NoAgent", grpcNoAgent},
		{"DoneContext", grpcDoneContext},
		{"CancelledDials", grpcCancelledDials},
		{"RequestDeadline", grpcRequestDeadline},
		{"ConcurrentDownloads", grpcConcurrentDownloads},
		{"ConcurrentPosts", grpcConcurrentPosts},
		{"PartialReads", grpcPartialReads},
		{"TargetEnds", grpcTargetEnds},
		{"AgentLost", grpcAgentLost},
		{"ServerRestarted", grpcServerRestarted},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, harness.GRPC) })
	}
}

// asked is a target that sends a payload once it has received a byte.
func asked(t *testing.T, seed uint64, size int64, ended func()) *harness.Target {
	t.Helper()
	return harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = io.Copy(conn, harness.NewPayload(seed, size))
		if ended != nil {
			ended()
		}
	})
}

// download dials such a target and asks it.
func download(tunnel *harness.Tunnel, address string) (net.Conn, error) {
	conn, err := tunnel.DialWithin(10*time.Second, address)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte(".")); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// A target that ends ends the connection, behind its last byte.
func grpcTargetEnds(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	for _, size := range []int64{0, 1, 5000, 70_000, 3 * harness.Mebibyte} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			target := asked(t, 13, size, nil)
			for repetition := range 10 {
				conn, err := download(tunnel, target.Address)
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

// One write, read back in pieces smaller than it, and a close without an error.
func grpcPartialReads(t *testing.T, via harness.Transport) {
	tunnel := harness.StartOver(t, via, 1)
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	const text = "the bytes of one DATA, 25"
	for range 50 {
		conn, err := tunnel.DialWithin(5*time.Second, echo.Address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		for rest := text; rest != ""; {
			piece := make([]byte, 10)
			n, err := conn.Read(piece)
			if err != nil || n == 0 || string(piece[:n]) != rest[:n] {
				t.Fatalf("expected the beginning of %q, got %q, %v", rest, piece[:n], err)
			}
			rest = rest[n:]
		}
		if err := conn.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

package suite

import (
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
)

// GreetAndEcho is the target of a forwarded port: it speaks first, and then
// returns what it receives until its peer has ended.
func GreetAndEcho(conn io.ReadWriter) error {
	if _, err := io.WriteString(conn, Greeting); err != nil {
		return err
	}
	_, err := io.Copy(conn, conn)
	return err
}

// ThroughForward hears the Greeting, has a payload returned and ends.
func ThroughForward(address string, seed uint64) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	heard := make([]byte, len(Greeting))
	if _, err := io.ReadFull(conn, heard); err != nil || string(heard) != Greeting {
		return fmt.Errorf("expected the Greeting, got %q, %v", heard, err)
	}
	const size = 512 << 10
	var directions errgroup.Group
	directions.Go(func() error {
		if _, err := io.Copy(conn, harness.NewPayload(seed, size)); err != nil {
			return err
		}
		return conn.(*net.TCPConn).CloseWrite()
	})
	directions.Go(func() error {
		if err := harness.CheckPayload(conn, seed, size); err != nil {
			return err
		}
		return harness.CheckEOF(conn)
	})
	return directions.Wait()
}

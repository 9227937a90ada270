package packet

import "net"

// Close closes a connection of konnectivity-client. Where the answer has come
// before the client waits for it, the client sees two ends at once, the answer
// and its tunnel's, and picks one of them; "tunnel closed" is then no error.
func Close(conn net.Conn) error {
	if err := conn.Close(); err != nil && err.Error() != "tunnel closed" {
		return err
	}
	return nil
}

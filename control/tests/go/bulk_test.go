package counterparts

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// 64 MiB each way at the same time over one connection.
func TestBulkBothWays(t *testing.T) {
	tunnel := harness.Start(t, 1)
	const size = 64 * harness.Mebibyte
	received := make(chan error, 1)
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		var directions errgroup.Group
		directions.Go(func() error {
			if err := harness.CheckPayload(conn, 21, size); err != nil {
				return err
			}
			return harness.CheckEOF(conn)
		})
		directions.Go(func() error {
			if _, err := io.Copy(conn, harness.NewPayload(22, size)); err != nil {
				return err
			}
			return conn.CloseWrite()
		})
		received <- directions.Wait()
	})
	conn := tunnel.MustDial(t, target.Address)
	started := time.Now()
	var directions errgroup.Group
	directions.Go(func() error {
		if _, err := io.Copy(conn, harness.NewPayload(21, size)); err != nil {
			return err
		}
		return conn.CloseWrite()
	})
	directions.Go(func() error {
		if err := harness.CheckPayload(conn, 22, size); err != nil {
			return err
		}
		return harness.CheckEOF(conn)
	})
	if err := directions.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := <-received; err != nil {
		t.Fatal("at the target: ", err)
	}
	t.Logf("2 × 64 MiB in %v", time.Since(started).Round(time.Millisecond))
}

// 32 downloads of 8 MiB beside each other.
func TestConcurrentDownloads(t *testing.T) {
	tunnel := harness.Start(t, 2)
	server := httptest.NewServer(http.HandlerFunc(harness.Payloads))
	defer server.Close()
	client := &http.Client{Transport: tunnel.Transport(t, nil), Timeout: harness.RequestLimit}
	started := time.Now()
	var downloads errgroup.Group
	for download := range uint64(32) {
		downloads.Go(func() error {
			return harness.Fetch(client, server.URL, 100+download, 8*harness.Mebibyte)
		})
	}
	if err := downloads.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("32 × 8 MiB in %v", time.Since(started).Round(time.Millisecond))
}

// Downloads that are cut off in the middle, all together, end at the target
// too and leave the tunnel as it was.
func TestDownloadsCutOff(t *testing.T) {
	tunnel := harness.Start(t, 1)
	const downloads = 32
	ended := make(chan struct{}, downloads)
	target := harness.Listen(t, "127.0.0.1", func(conn *net.TCPConn) {
		_, _ = io.Copy(conn, harness.NewPayload(31, 1<<40))
		ended <- struct{}{}
	})
	echo := harness.Listen(t, "127.0.0.1", harness.Echo)
	conns := make([]net.Conn, downloads)
	for i := range conns {
		conns[i] = tunnel.MustDial(t, target.Address)
		if err := harness.CheckPayload(conns[i], 31, 100_000); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	limit := time.After(10 * time.Second)
	for i := range downloads {
		select {
		case <-ended:
		case <-limit:
			t.Fatalf("%d of %d downloads still run at the target", downloads-i, downloads)
		}
	}
	if err := suite.Exchange(tunnel, 2*time.Second, echo.Address, 32, harness.Mebibyte); err != nil {
		t.Fatal("afterwards: ", err)
	}
}

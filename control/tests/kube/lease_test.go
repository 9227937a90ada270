package kube

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"adit.test/counterparts/harness"
	"adit.test/kube/cluster"
)

// The server says by a lease that it is there, and again and again.
func lease(t *testing.T, c *cluster.Cluster) {
	var first time.Time
	renewed := func() error {
		lease, err := c.Lease()
		if err != nil {
			return err
		}
		spec := lease.Spec
		if lease.Name != "konnectivity-proxy-server-kube" || spec.HolderIdentity == nil || *spec.HolderIdentity != "kube" {
			t.Fatalf("a lease that is not the server's: %v", lease)
		}
		if spec.RenewTime == nil || time.Since(spec.RenewTime.Time) > 30*time.Second {
			return fmt.Errorf("it is not renewed: %v", spec)
		}
		if first.IsZero() {
			first = spec.RenewTime.Time
		}
		if spec.RenewTime.Time.Equal(first) {
			return errors.New("it was written once")
		}
		return nil
	}
	harness.MustWithin(t, 30*time.Second, "a renewed lease", renewed)
}

// Package counterparts drives adit with the code that real clusters run:
// kube-apiserver's egress dialer, its upgrade-aware proxy handler, kubectl's
// streaming clients and kubelet's streaming server.
package counterparts

import (
	"os"
	"testing"

	"adit.test/counterparts/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

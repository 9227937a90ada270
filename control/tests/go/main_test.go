// Package counterparts drives adit with the code that real clusters run:
// kube-apiserver's egress dialer, its upgrade-aware proxy handler, kubectl's
// streaming clients and kubelet's streaming server.
package counterparts

import (
	"os"
	"strings"
	"testing"

	"adit.test/counterparts/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// contains says whether an error's text has this part.
func contains(err error, part string) bool { return strings.Contains(err.Error(), part) }

// Package counterparts drives adit with kube-apiserver's dialer of v0.34.0. The tests are those of
// the newest one (harness/suite); this module only pins another
// k8s.io/apiserver.
package counterparts

import (
	"os"
	"testing"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// What every version of the dialer has to find in GRPC mode, found by this one.
func TestGRPC(t *testing.T) { suite.RunGRPC(t) }

// SYNs that vanish; it takes as long as an agent's dial may.
func TestGRPCBlackHole(t *testing.T) {
	t.Parallel()
	suite.GRPCBlackHole(t)
}

// Downloads cut off together, again and again.
func TestGRPCCutOff(t *testing.T) {
	t.Parallel()
	suite.GRPCCutOff(t, 3, 32)
}

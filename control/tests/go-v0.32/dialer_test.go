// Package counterparts drives adit with the oldest dialer of kube-apiserver that it
// promises to work with. The tests are those of
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

// What every version of the dialer has to find, found by this one.
func TestDialer(t *testing.T) { suite.Run(t) }

// SYNs that vanish; it takes as long as an agent's dial may.
func TestBlackHole(t *testing.T) { harness.WaitOverEach(t, suite.BlackHole) }

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

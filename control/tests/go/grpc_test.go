package counterparts

import (
	"testing"

	"adit.test/counterparts/harness/suite"
)

// What every version of the dialer has to find in GRPC mode, found by this one.
func TestGRPC(t *testing.T) { suite.RunGRPC(t) }

// SYNs that vanish; it takes as long as an agent's dial may.
func TestGRPCBlackHole(t *testing.T) {
	t.Parallel()
	suite.GRPCBlackHole(t)
}

// Crowds of downloads cut off together, again and again: what hangs
// Konnectivity's server for good.
func TestGRPCCutOff(t *testing.T) {
	t.Parallel()
	suite.GRPCCutOff(t, 20, 16, 32, 128)
}

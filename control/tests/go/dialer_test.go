package counterparts

import (
	"testing"

	"adit.test/counterparts/harness"
	"adit.test/counterparts/harness/suite"
)

// What every version of the dialer has to find, found by this one.
func TestDialer(t *testing.T) { suite.Run(t) }

// SYNs that vanish; it takes as long as an agent's dial may.
func TestBlackHole(t *testing.T) { harness.WaitOverEach(t, suite.BlackHole) }

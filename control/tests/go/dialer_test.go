package counterparts

import (
	"testing"

	"adit.test/counterparts/harness/suite"
)

// What every version of the dialer has to find, found by this one.
func TestDialer(t *testing.T) { suite.Run(t) }

package harness

import (
	"fmt"
	"testing"
	"time"
)

// pollInterval is how often a condition is looked at while it is waited for.
const pollInterval = 20 * time.Millisecond

// Within waits until condition returns nil. It gives up when the deadline has
// passed, with the condition's last answer.
func Within(deadline time.Duration, what string, condition func() error) error {
	started := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Since(started) > deadline {
			return fmt.Errorf("%s: not within %v: %w", what, deadline, err)
		}
		<-tick.C
	}
}

// MustWithin is Within for what a test cannot go on without.
func MustWithin(t testing.TB, deadline time.Duration, what string, condition func() error) {
	t.Helper()
	if err := Within(deadline, what, condition); err != nil {
		t.Fatal(err)
	}
}

package counterparts

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The tests are tested: against a double with a defect, the test that is there
// for this defect has to fail, and for the right reason. Against the correct
// double it has to pass.
func TestTheTestsNotice(t *testing.T) {
	if os.Getenv("ADIT_DOUBLE") != "" {
		return // this very test, started again by itself
	}
	t.Parallel()
	cases := []struct{ fault, test, complaint string }{
		{"early-bytes", "TestDialer/uds/ServerFirst", "bytes of buffered data from CONNECT proxy"},
		{"full-close", "TestDialer/uds/ClientHalfClose", "answer: "},
		{"flip-byte", "TestDialer/uds/HTTPBodies", "is 0x"},
		{"lose-tail", "TestDialer/uds/ServerFirstAndOnly", "ended after"},
		{"lose-tail", "TestDialer/uds/ClientHalfClose", "ended after"},
		{"bare-errors", "TestDialer/uds/DialErrors", `the error lacks "connection refused"`},
		{"bare-errors", "TestDialer/uds/NoAgent", `the error lacks "code 500`},
		{"no-release", "TestAgentKilled", "connections were the killed agent's"},
	}
	for _, c := range cases {
		t.Run(c.fault+" "+c.test, func(t *testing.T) {
			t.Parallel()
			output, err := against(c.fault, c.test)
			if err == nil {
				t.Errorf("%s passes against a double with %s:\n%s", c.test, c.fault, output)
			}
			if !strings.Contains(output, c.complaint) {
				t.Errorf("%s against %s does not say %q:\n%s", c.test, c.fault, c.complaint, output)
			}
			if output, err := against("none", c.test); err != nil {
				t.Errorf("%s fails against the correct double: %v\n%s", c.test, err, output)
			}
		})
	}
}

// against runs one test of this binary, named as `go test -v` names it, against
// a double.
func against(fault, test string) (string, error) {
	pattern := "^" + strings.ReplaceAll(test, "/", "$/^") + "$"
	command := exec.Command(os.Args[0], "-test.run", pattern, "-test.timeout", "60s")
	command.Env = append(os.Environ(), "ADIT_DOUBLE="+fault)
	output, err := command.CombinedOutput()
	return string(output), err
}

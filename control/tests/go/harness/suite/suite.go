// Package suite holds what every version of kube-apiserver's dialer has to find
// in front of adit, over each transport.
//
// These are tests in a package of their own because more than one module runs
// them, each with its version of k8s.io/apiserver. What needs a particular
// version, or more than the dialer, stays with the module that has it.
package suite

import (
	"testing"

	"adit.test/counterparts/harness"
)

// Run runs the tests of the suite over each transport, named
// <transport>/<test>; all but BlackHole, which mostly waits and is therefore
// for a test that is parallel to others.
func Run(t *testing.T) {
	harness.OverEach(t, func(t *testing.T, via harness.Transport) {
		for _, test := range []struct {
			name string
			run  func(*testing.T, harness.Transport)
		}{
			{"PlainHTTP", PlainHTTP},
			{"HTTPBodies", HTTPBodies},
			{"HTTPFullDuplex", HTTPFullDuplex},
			{"TargetClosesKeptConnection", TargetClosesKeptConnection},
			{"KubeletServingCertificate", KubeletServingCertificate},
			{"KubeletRefusesStrangers", KubeletRefusesStrangers},
			{"HTTP2", HTTP2},
			{"ManyDialsAtOnce", ManyDialsAtOnce},
			{"DialErrors", DialErrors},
			{"NoAgent", NoAgent},
			{"ClientGivesUp", ClientGivesUp},
			{"ServerFirst", ServerFirst},
			{"ServerFirstAndOnly", ServerFirstAndOnly},
			{"ClientHalfClose", ClientHalfClose},
			{"TargetHalfClose", TargetHalfClose},
			{"ClientClose", ClientClose},
			{"LastWords", LastWords},
		} {
			t.Run(test.name, func(t *testing.T) { test.run(t, via) })
		}
	})
}

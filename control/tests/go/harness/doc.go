// Package harness starts the programs under test and gives the tests what they
// reach for: kube-apiserver's own dialer in front, real targets behind.
//
// A Tunnel is one `adit server` and any number of `adit agent` processes with
// free ports and a directory of their own, joined to the egress selector of
// k8s.io/apiserver over a Unix socket or over TCP. Nothing here knows adit's
// protocol, and nothing here leaves the loopback interface.
//
// Environment:
//
//	ADIT_BIN     the adit program; without it, `cargo build --release --bin adit`
//	ADIT_IO      uring, epoll or auto: handed to the programs as --io
//	ADIT_DOUBLE  not empty: no program is started, an in-process proxy answers
//	             instead (see Double); "none" is a correct one, any other value
//	             names the defect it is to have
package harness

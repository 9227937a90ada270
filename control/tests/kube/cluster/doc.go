// Package cluster is a control plane of real programs with one node behind a
// tunnel: etcd, kube-apiserver, adit's server, adit's agent, and a kubelet that
// is this process with k8s.io/cri-streaming inside.
//
// Two network namespaces keep the halves apart. The test process and everything
// of the control plane live in one without a route to the node's addresses; the
// kubelet's and the pods' sockets, and the agent, live in the other, joined to
// it by a veth pair over which nothing but adit's QUIC goes. What reaches the
// node has therefore been through the tunnel. Both are anonymous and end with
// the processes in them, however those end.
//
// Deliberately absent: controllers, a scheduler, a container runtime. Tests
// write the objects that those would have written.
package cluster

// Package packet makes Konnectivity's packets and names its two services, for
// the doubles and for tests that speak the protocol by hand.
package packet

import (
	"google.golang.org/grpc"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// Packet is the one message of both services.
type Packet = client.Packet

// The full paths of the two methods; the proto file has no package.
const (
	ConnectMethod = "/AgentService/Connect"
	ProxyMethod   = "/ProxyService/Proxy"
)

// Stream describes both methods: packets each way.
var Stream = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// DialReq asks for a connection to address; random names the dial.
func DialReq(random int64, address string) *Packet {
	return &Packet{Type: client.PacketType_DIAL_REQ, Payload: &client.Packet_DialRequest{
		DialRequest: &client.DialRequest{Protocol: "tcp", Address: address, Random: random},
	}}
}

// DialRsp answers a dial: with the connection's number, or with a problem.
func DialRsp(random, id int64, problem string) *Packet {
	return &Packet{Type: client.PacketType_DIAL_RSP, Payload: &client.Packet_DialResponse{
		DialResponse: &client.DialResponse{Random: random, ConnectID: id, Error: problem},
	}}
}

// DialCls gives a dial up.
func DialCls(random int64) *Packet {
	return &Packet{Type: client.PacketType_DIAL_CLS, Payload: &client.Packet_CloseDial{
		CloseDial: &client.CloseDial{Random: random},
	}}
}

// Data carries bytes of a connection.
func Data(id int64, data []byte) *Packet {
	return &Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{
		Data: &client.Data{ConnectID: id, Data: data},
	}}
}

// CloseReq asks for a connection's end.
func CloseReq(id int64) *Packet {
	return &Packet{Type: client.PacketType_CLOSE_REQ, Payload: &client.Packet_CloseRequest{
		CloseRequest: &client.CloseRequest{ConnectID: id},
	}}
}

// CloseRsp says that a connection has ended.
func CloseRsp(id int64, problem string) *Packet {
	return &Packet{Type: client.PacketType_CLOSE_RSP, Payload: &client.Packet_CloseResponse{
		CloseResponse: &client.CloseResponse{ConnectID: id, Error: problem},
	}}
}

// Drain says that an agent wants no more dials.
func Drain() *Packet {
	return &Packet{Type: client.PacketType_DRAIN, Payload: &client.Packet_Drain{Drain: &client.Drain{}}}
}

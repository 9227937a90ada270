// Command golden writes packets as konnectivity-client's own types encode
// them: a line for each, its name and its bytes in hexadecimal. adit's data
// plane compares its own with them.
package main

import (
	"fmt"
	"log"
	"math"
	"strings"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func main() {
	fmt.Println("# Made by: go -C bench/tests/go run ./golden > dataplane/src/konnectivity/tests/golden.txt")
	dialReq := func(protocol, address string, random int64) *client.Packet {
		return &client.Packet{Type: client.PacketType_DIAL_REQ, Payload: &client.Packet_DialRequest{
			DialRequest: &client.DialRequest{Protocol: protocol, Address: address, Random: random},
		}}
	}
	dialRsp := func(problem string, id, random int64) *client.Packet {
		return &client.Packet{Type: client.PacketType_DIAL_RSP, Payload: &client.Packet_DialResponse{
			DialResponse: &client.DialResponse{Error: problem, ConnectID: id, Random: random},
		}}
	}
	closeReq := func(id int64) *client.Packet {
		return &client.Packet{Type: client.PacketType_CLOSE_REQ, Payload: &client.Packet_CloseRequest{
			CloseRequest: &client.CloseRequest{ConnectID: id},
		}}
	}
	closeRsp := func(problem string, id int64) *client.Packet {
		return &client.Packet{Type: client.PacketType_CLOSE_RSP, Payload: &client.Packet_CloseResponse{
			CloseResponse: &client.CloseResponse{Error: problem, ConnectID: id},
		}}
	}
	data := func(id int64, bytes string) *client.Packet {
		return &client.Packet{Type: client.PacketType_DATA, Payload: &client.Packet_Data{
			Data: &client.Data{ConnectID: id, Data: []byte(bytes)},
		}}
	}
	dialCls := func(random int64) *client.Packet {
		return &client.Packet{Type: client.PacketType_DIAL_CLS, Payload: &client.Packet_CloseDial{
			CloseDial: &client.CloseDial{Random: random},
		}}
	}
	for _, golden := range []struct {
		name   string
		packet *client.Packet
	}{
		{"dial_req", dialReq("tcp", "10.0.0.1:443", 5)},
		{"dial_req_largest", dialReq("tcp", "node-1.example.com:10250", math.MaxInt64)},
		{"dial_rsp", dialRsp("", 9, 5)},
		{"dial_rsp_error", dialRsp("dial tcp 10.0.0.1:443: connect: connection refused", 0, 5)},
		{"close_req", closeReq(7)},
		{"close_rsp", closeRsp("", 7)},
		{"close_rsp_error", closeRsp("Unknown connectID", 300)},
		{"data", data(7, "xy")},
		{"data_long", data(1<<40, strings.Repeat("0123456789abcdef", 20))},
		{"data_empty", data(7, "")},
		{"data_nobody", data(0, "xy")},
		{"dial_cls", dialCls(5)},
		{"dial_cls_negative", dialCls(-1)},
		{"drain", &client.Packet{Type: client.PacketType_DRAIN, Payload: &client.Packet_Drain{
			Drain: &client.Drain{},
		}}},
	} {
		bytes, err := proto.Marshal(golden.packet)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %x\n", golden.name, bytes)
	}
}

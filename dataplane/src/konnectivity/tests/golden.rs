//! Our packets beside those of konnectivity-client's own types. The file says how it was made.

use bytes::Bytes;

use crate::konnectivity::Packet;

use super::{close_req, close_rsp, data, dial_req, dial_rsp};

const GOLDEN: &str = include_str!("golden.txt");

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn packets_have_the_bytes_that_go_gives_them_and_are_read_from_them() {
    let packets = [
        ("dial_req", dial_req(5, "10.0.0.1:443")),
        ("dial_req_largest", dial_req(i64::MAX, "node-1.example.com:10250")),
        ("dial_rsp", dial_rsp(5, 9, "")),
        ("dial_rsp_error", dial_rsp(5, 0, "dial tcp 10.0.0.1:443: connect: connection refused")),
        ("close_req", close_req(7)),
        ("close_rsp", close_rsp(7, "")),
        ("close_rsp_error", close_rsp(300, "Unknown connectID")),
        ("data", data(7, "xy")),
        ("data_long", data(1 << 40, &"0123456789abcdef".repeat(20))),
        ("data_empty", data(7, "")),
        ("data_nobody", data(0, "xy")),
        ("dial_cls", Packet::DialCls { random: 5 }),
        ("dial_cls_negative", Packet::DialCls { random: -1 }),
        ("drain", Packet::Drain),
    ];
    let lines: Vec<_> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), packets.len());
    for (line, (name, packet)) in lines.into_iter().zip(packets) {
        let (golden, hexadecimal) = line.split_once(' ').unwrap();
        assert_eq!(golden, name);
        let bytes = bytes_of(hexadecimal);
        assert_eq!(packet.to_message().unwrap().to_bytes()[5..], bytes, "{name}");
        assert_eq!(Packet::decode(Bytes::from(bytes)), Ok(packet), "{name}");
    }
}

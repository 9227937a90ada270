//! What a consumer learns of a request, and what it must not.

use super::super::{Event, Request, StreamId};
use super::{END_HEADERS, END_STREAM, Server, call, frame, text};

fn request(block: &[u8]) -> Request {
    let mut events = Server::greeted().hear(&frame(1, END_HEADERS, 1, block));
    match events.remove(0) {
        Event::Opened { stream: StreamId(1), request } => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_authority_is_taken_raw_and_percent_encoded() {
    for authority in ["%2Frun%2Fx%2Fd.sock", "/run/x/d.sock", "localhost:8091", ""] {
        let request = request(&call("/ProxyService/Proxy", authority));
        assert_eq!(request.path, "/ProxyService/Proxy", "{authority}");
        assert!(request.is_grpc(), "{authority}");
        assert_eq!(request.user_agent, "grpc-go/1.82.1");
    }
}

#[test]
fn only_a_post_of_grpcs_content_type_is_a_call() {
    for (content_type, is_grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc-web", false),
        ("text/plain", false),
    ] {
        let block = [&b"\x83\x86\x84\x01\x01x\x0f\x10"[..], &text(content_type)].concat();
        assert_eq!(request(&block).is_grpc(), is_grpc, "{content_type}");
    }
    let get = [&b"\x82\x86\x84\x01\x01x\x0f\x10"[..], &text("application/grpc")].concat();
    assert!(!request(&get).is_grpc());
    assert_eq!(request(b"\x83\x86\x84\x01\x01x").content_type, "");
}

#[test]
fn metadata_is_found_by_name_and_never_shown() {
    let literal = |name: &str, value: &str| [&b"\0"[..], &text(name), &text(value)].concat();
    let block = [
        call("/AgentService/Connect", "x"),
        literal("agentid", "one"),
        literal("authorization", "Bearer hunter2"),
        literal("agentid", "two"),
    ];
    let request = request(&block.concat());
    assert_eq!(request.metadata.values("agentid").collect::<Vec<_>>(), [b"one", b"two"]);
    assert_eq!(request.metadata.values("authorization").next(), Some(&b"Bearer hunter2"[..]));
    assert_eq!(request.metadata.values(":path").next(), None);
    assert!(!format!("{request:?}").contains("hunter2"), "{request:?}");
}

#[test]
fn a_user_agent_is_short_and_fit_for_a_log() {
    let long = "\u{1b}[31m".to_owned() + &"a".repeat(115);
    let block = [&b"\x83\x86\x84\x01\x01x"[..], &b"\x0f\x2b"[..], &text(&long)].concat();
    let request = request(&block);
    assert!(request.user_agent.starts_with("\\u{1b}[31ma"), "{}", request.user_agent);
    let mut block = b"\x83\x86\x84\x01\x01x\x0f\x2b\x7f\xe9\x07".to_vec();
    block.extend_from_slice(&[b'a'; 1128]);
    let request = self::request(&block);
    assert!((300..=320).contains(&request.user_agent.len()), "{}", request.user_agent.len());
}

#[test]
fn the_end_of_a_request_comes_after_all_of_it() {
    let mut server = Server::greeted();
    let whole = frame(1, END_HEADERS | END_STREAM, 1, &call("/x", "x"));
    let events = server.hear(&whole);
    assert!(matches!(events[..], [Event::Opened { .. }, Event::HalfClosed { stream: StreamId(1) }]));
    let trailers = frame(1, END_HEADERS | END_STREAM, 3, &[&b"\0"[..], &text("a"), &text("b")].concat());
    let with_trailers = [frame(1, END_HEADERS, 3, &call("/x", "x")), frame(0, 0, 3, b"data"), trailers];
    let events = server.hear(&with_trailers.concat());
    let data = Event::Data { stream: StreamId(3), bytes: b"data"[..].into() };
    assert_eq!(events[1..], [data, Event::HalfClosed { stream: StreamId(3) }]);
    let last = frame(0, END_STREAM, 5, b"last");
    let events = server.hear(&[frame(1, END_HEADERS, 5, &call("/x", "x")), last].concat());
    let data = Event::Data { stream: StreamId(5), bytes: b"last"[..].into() };
    assert_eq!(events[1..], [data, Event::HalfClosed { stream: StreamId(5) }]);
}

//! Answers, byte by byte.

use proptest::prelude::*;

use crate::frontend::Answer;
use crate::limits::ANSWER_BYTES_MAX;
use crate::limits::REASON_PHRASE_BYTES_MAX;

fn text(answer: Answer) -> String {
    String::from_utf8(answer.into_bytes().to_vec()).unwrap()
}

#[test]
fn the_tunnel_stands() {
    assert_eq!(Answer::established().status(), 200);
    assert_eq!(text(Answer::established()), "HTTP/1.1 200 Connection Established\r\n\r\n");
}

#[test]
fn an_error_of_an_agent_is_in_the_status_line_and_in_the_body() {
    let refused = "dial tcp 10.0.0.1:80: connect: connection refused";
    assert_eq!(
        text(Answer::dial_error(refused)),
        "HTTP/1.1 502 Bad Gateway: dial tcp 10.0.0.1:80: connect: connection refused\r\n\
         Connection: close\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         \r\n\
         dial tcp 10.0.0.1:80: connect: connection refused"
    );
    assert_eq!(Answer::dial_error("dial tcp 10.0.0.1:80: i/o timeout").status(), 504);
    assert_eq!(Answer::dial_error("socket: too many open files").status(), 503);
}

#[test]
fn statuses_and_bodies_are_those_of_konnectivity() {
    let table = [
        (Answer::no_agent(), 500, "currently no tunnels available: No agent available"),
        (Answer::backend_gone("connection lost"), 502, "Backend context error: connection lost"),
        (Answer::timeout(), 504, "Backend dial timeout: timed out waiting for backend dial"),
        (Answer::unavailable("mailbox full"), 503, "mailbox full"),
        (Answer::method_not_allowed(), 405, "this proxy only supports CONNECT passthrough"),
        (Answer::head_timeout(), 408, "the request head did not come in time"),
        (Answer::head_too_large(), 431, "the request head is too large"),
        (Answer::bad_request("nonsense"), 400, "nonsense"),
        (Answer::version_not_supported("2"), 505, "2"),
    ];
    for (answer, status, body) in table {
        assert_eq!(answer.status(), status);
        let text = text(answer);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(text.ends_with(&format!("\r\n\r\n{body}")), "{text}");
        assert!(text.lines().next().unwrap().ends_with(&format!(": {body}")), "{text}");
        assert!(!text.contains("Error: Error"), "every status has its words: {text}");
    }
    assert!(text(Answer::method_not_allowed()).contains("\r\nAllow: CONNECT\r\n"));
}

#[test]
fn the_cause_survives_the_longest_name() {
    let name = format!("{}.example", ["a".repeat(60).as_str(); 4].join("."));
    let text = text(Answer::dial_error(&format!("dial tcp: lookup {name}: no such host")));
    assert!(text.len() <= ANSWER_BYTES_MAX);
    assert!(text.lines().next().unwrap().ends_with(": no such host"), "{text}");
    assert!(text.ends_with(": no such host"), "{text}");
}

#[test]
fn text_from_outside_cannot_make_a_header() {
    let evil = Answer::dial_error("x\r\nSet-Cookie: a=b\r\n\r\n<html>\x1b[2J ä");
    let text = text(evil);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(head.lines().count(), 3);
    assert_eq!(head.lines().next().unwrap(), "HTTP/1.1 502 Bad Gateway: x??Set-Cookie: a=b????<html>?[2J ?");
    assert_eq!(body, "x\\r\\nSet-Cookie: a=b\\r\\n\\r\\n<html>\\u{1b}[2J ä");
}

proptest! {
    #[test]
    fn an_answer_is_a_short_response_whatever_the_text(text in any::<String>()) {
        for answer in [Answer::dial_error(&text), Answer::backend_gone(&text), Answer::unavailable(&text)] {
            let status = answer.status();
            let bytes = answer.into_bytes();
            prop_assert!(bytes.len() <= ANSWER_BYTES_MAX);
            let mut fields = [httparse::EMPTY_HEADER; 4];
            let mut response = httparse::Response::new(&mut fields);
            prop_assert!(response.parse(&bytes).unwrap().is_complete());
            prop_assert_eq!(response.code, Some(status));
            prop_assert!(response.reason.unwrap().len() <= REASON_PHRASE_BYTES_MAX);
            prop_assert_eq!(response.headers.len(), 2);
        }
    }
}

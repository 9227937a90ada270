//! `adit/1` over HTTP/2 from the first byte, at an agent's end whose shard echoes.

use std::collections::VecDeque;
use std::time::Instant;

use adit_dataplane::carrier::pipes::Pipes;
use adit_dataplane::carrier::{Carrier, CarrierEvent};
use adit_dataplane::limits;
use adit_dataplane::quic::{ReadState, StreamId};
use adit_dataplane::wire::ResetCode;
use adit_fuzz::Fate;
use bytes::Bytes;

use super::http2::{Said, said};

/// Longest input that is also given byte by byte.
const SINGLES_BYTES_MAX: usize = 4096;
/// What is read at once: less than a frame may have.
const READ_BYTES: usize = 1000;

/// What adit's server says to an agent. Taken where something came of it and nothing was wrong; and that does not
/// depend on how the bytes arrive.
pub(crate) fn streams(input: &[u8]) -> Fate {
    let whole = converse([input]);
    let (start, end) = input.split_at(input.len() / 2);
    assert_eq!(converse([start, end]), whole, "in halves");
    if input.len() <= SINGLES_BYTES_MAX {
        assert_eq!(converse(input.chunks(1)), whole, "byte by byte");
    }
    match whole.0.last() {
        Some(CarrierEvent::Lost(reason)) => {
            assert!((1..=1000).contains(&reason.text.len()), "{reason}");
            assert!(!reason.text.chars().any(char::is_control), "{reason}");
            Fate::Refused
        }
        Some(_) => Fate::Taken,
        None => Fate::Partial,
    }
}

/// What came of it, and what was said.
fn converse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<CarrierEvent>, Said) {
    let now = Instant::now();
    let mut pipes = Pipes::agent(now).expect("a carrier");
    let (mut events, mut output) = (Vec::new(), pipes.take_output().to_vec());
    for piece in pieces {
        pipes.receive(now, Bytes::copy_from_slice(piece));
        loop {
            let event = pipes.poll_event(now);
            if let Some(event) = &event {
                let lost = events.iter().any(|event| matches!(event, CarrierEvent::Lost(_)));
                assert!(!lost, "{event:?} after the end");
                answer(&mut pipes, now, event);
                // Payload may come in any parts, and so is written in any.
                let again = matches!(event, CarrierEvent::Readable(_)) && events.last() == Some(event);
                if !again && !matches!(event, CarrierEvent::Writable(_)) {
                    events.push(event.clone());
                }
            }
            let bytes = pipes.take_output();
            output.extend_from_slice(&bytes);
            if event.is_none() && bytes.is_empty() {
                break;
            }
        }
    }
    (events, said(&output))
}

fn answer(pipes: &mut Pipes, now: Instant, event: &CarrierEvent) {
    match event {
        CarrierEvent::Connected => {
            let control = pipes.open().expect("it is there").expect("it has come");
            assert_eq!(pipes.open(), Ok(None));
            write(pipes, now, control, Bytes::from_static(b"hello"));
        }
        CarrierEvent::Opened(stream) => assert!(!pipes.received_reset(*stream)),
        CarrierEvent::Readable(stream) => read(pipes, now, *stream),
        CarrierEvent::Stopped(stream, code) => {
            assert!(ResetCode::ALL.contains(code));
            assert!(pipes.finish(*stream).is_err());
        }
        CarrierEvent::Writable(_) | CarrierEvent::Finished(_) | CarrierEvent::Lost(_) => {}
        other => panic!("{other:?} is not for adit's own peers"),
    }
}

/// Echoes, ends with the peer, and reads no further behind a certain byte.
fn read(pipes: &mut Pipes, now: Instant, stream: StreamId) {
    loop {
        let mut out = Vec::new();
        // It may have been stopped.
        let Ok(state) = pipes.read(now, stream, READ_BYTES, &mut out) else { return };
        let bytes = Bytes::from(out.concat());
        assert!(bytes.len() <= READ_BYTES && bytes.len() <= limits::STREAM_WINDOW_BYTES as usize);
        if let Some(at) = bytes.iter().position(|byte| *byte == b'!') {
            write(pipes, now, stream, bytes.slice(..at));
            let _ = pipes.stop(stream, ResetCode::Cancelled);
            return;
        }
        write(pipes, now, stream, bytes);
        match state {
            ReadState::More => {}
            ReadState::Blocked | ReadState::Reset(_) => return,
            ReadState::Finished => {
                // Gone where the peer has reset it since.
                let _ = pipes.finish(stream);
                return;
            }
        }
    }
}

/// Writes what there is room for, on a stream that may be over.
fn write(pipes: &mut Pipes, now: Instant, stream: StreamId, bytes: Bytes) {
    let mut chunks = VecDeque::from([bytes]);
    let _ = pipes.write(now, stream, &mut chunks);
}

//! Payload through an established session, both ways, to its end. Who may establish one is `handshake`'s matter.

use bytes::Bytes;
use proptest::prelude::*;
use rustls::{AlertDescription, Error};

use super::pair::{Pair, TLS12, TLS13, records};
use crate::limits::EGRESS_BATCH_BYTES_MAX;
use crate::stream::tls::TlsSession;

/// Bytes that tell their position.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at ^ (at >> 8)) & 0xff).unwrap()).collect()
}

const fn can_move<T: Send>() {}
const _: () = can_move::<TlsSession>();

#[test]
fn records_may_be_cut_anywhere() {
    for versions in [TLS13, TLS12] {
        let mut pair = Pair::established(versions);
        let mut want = Vec::new();
        // Each cut at every byte: three records of 1, 40 and 200 bytes, and a piece of the one before.
        for cut in 0..330 {
            let sent = want.len();
            let mut ciphertext = Vec::new();
            for len in [1, 40, 200] {
                let more = pattern(want.len() - sent + len).split_off(want.len() - sent);
                pair.client_writes(&more);
                ciphertext.extend(pair.client_says());
                want.extend(more);
            }
            let cut = cut.min(ciphertext.len());
            pair.hear(&ciphertext[..cut]).unwrap();
            pair.hear(&ciphertext[cut..]).unwrap();
            assert!(pair.heard == want, "cut at {cut}");
            assert_eq!(pair.session.held_bytes(), 0, "an idle session holds nothing");
        }
    }
}

#[test]
fn small_pieces_go_out_in_full_records() {
    let mut pair = Pair::established(TLS13);
    let want = pattern(100_000);
    let batch: Vec<Bytes> = want.chunks(1170).map(Bytes::copy_from_slice).collect();
    let ciphertext = pair.say(batch);
    assert_eq!(records(&ciphertext).len(), 100_000_usize.div_ceil(16 * 1024));
    pair.tell_client(&ciphertext).unwrap();
    assert!(pair.client_reads() == (want, false));
}

#[test]
fn each_batch_begins_a_record_of_its_own() {
    // D15: kube-apiserver reads one record at a time; what follows the answer must not be in the answer's.
    let answer = Bytes::from_static(b"HTTP/1.1 200 Connection Established\r\n\r\n");
    for versions in [TLS13, TLS12] {
        let mut pair = Pair::established(versions);
        let mut ciphertext = pair.say(vec![answer.clone()]);
        ciphertext.extend(pair.say(vec![Bytes::from_static(b"220 welcome\r\n")]));
        let first = records(&ciphertext)[0].1;
        pair.tell_client(&ciphertext[..first]).unwrap();
        assert_eq!(pair.client_reads().0, answer);
        pair.tell_client(&ciphertext[first..]).unwrap();
        assert_eq!(pair.client_reads().0, b"220 welcome\r\n");
    }
}

#[test]
fn a_batch_is_done_when_its_last_byte_was_sent() {
    let mut pair = Pair::established(TLS13);
    pair.session.seal(vec![Bytes::from(pattern(40_000))]).unwrap();
    let mut ciphertext = Vec::new();
    for step in 1.. {
        let data = pair.session.want_send().unwrap();
        assert!(pair.session.want_send().is_none() && !pair.session.may_seal());
        let all: Vec<u8> = data.iter().flatten().copied().collect();
        let sent = (step * 1000).min(all.len());
        ciphertext.extend(&all[..sent]);
        let done = pair.session.on_sent(sent, data);
        if sent == all.len() {
            let (payload_bytes, storage) = done.unwrap();
            assert_eq!((payload_bytes, storage.len()), (40_000, 0));
            break;
        }
        assert!(done.is_none());
    }
    assert!(pair.session.may_seal() && !pair.session.has_unsent());
    pair.tell_client(&ciphertext).unwrap();
    assert!(pair.client_reads() == (pattern(40_000), false));
}

#[test]
fn either_direction_may_end_first() {
    for versions in [TLS13, TLS12] {
        let mut pair = Pair::established(versions);
        pair.client_writes(b"the last words");
        pair.client.send_close_notify();
        let ciphertext = pair.client_says();
        pair.hear(&ciphertext).unwrap();
        assert_eq!((pair.heard.as_slice(), pair.ended), (&b"the last words"[..], 1));
        assert!(pair.session.has_peer_ended());
        let ciphertext = pair.say(vec![Bytes::from_static(b"and the answer")]);
        pair.tell_client(&ciphertext).unwrap();
        assert_eq!(pair.client_reads(), (b"and the answer".to_vec(), false));
        pair.session.close();
        pair.session.close();
        let ciphertext = pair.session_says();
        assert_eq!(records(&ciphertext).len(), 1);
        pair.tell_client(&ciphertext).unwrap();
        assert_eq!(pair.client_reads(), (Vec::new(), true));

        let mut pair = Pair::established(versions);
        pair.session.close();
        let ciphertext = pair.session_says();
        pair.tell_client(&ciphertext).unwrap();
        assert_eq!(pair.client_reads(), (Vec::new(), true));
        pair.client_writes(b"still here");
        let ciphertext = pair.client_says();
        pair.hear(&ciphertext).unwrap();
        assert_eq!((pair.heard.as_slice(), pair.ended), (&b"still here"[..], 0));
        assert!(!pair.session.has_peer_ended(), "the end of TCP now would be a truncation");
    }
}

#[test]
fn what_follows_the_end_is_ignored() {
    let mut pair = Pair::established(TLS13);
    pair.client.send_close_notify();
    let mut ciphertext = pair.client_says();
    ciphertext.extend([0x17, 0x03, 0x03, 0x00]);
    pair.hear(&ciphertext).unwrap();
    pair.hear(&[7; 10_000]).unwrap();
    assert_eq!((pair.heard.len(), pair.ended, pair.session.held_bytes()), (0, 1, 0));
}

#[test]
fn a_forged_record_ends_the_session_with_an_alert() {
    for versions in [TLS13, TLS12] {
        let mut pair = Pair::established(versions);
        pair.client_writes(b"hello");
        let mut ciphertext = pair.client_says();
        *ciphertext.last_mut().unwrap() ^= 1;
        let failure = pair.hear(&ciphertext).unwrap_err();
        assert_eq!(failure.to_string(), "cannot decrypt peer's message");
        assert!(!pair.session.may_seal());
        pair.session.close();
        let alert = pair.session_says();
        let told = pair.tell_client(&alert).unwrap_err();
        assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}

#[test]
fn keys_may_be_renewed_but_not_without_end() {
    let mut pair = Pair::established(TLS13);
    for round in 0..100_u8 {
        pair.client.refresh_traffic_keys().unwrap();
        pair.client_writes(&[round]);
        let ciphertext = pair.client_says();
        pair.hear(&ciphertext).unwrap();
        let answer = pair.say(vec![Bytes::from(vec![round])]);
        pair.tell_client(&answer).unwrap();
        assert_eq!(pair.client_reads().0, [round]);
    }
    let mut answers = 0;
    let failure = loop {
        pair.client.refresh_traffic_keys().unwrap();
        let ciphertext = pair.client_says();
        if let Err(failure) = pair.hear(&ciphertext) {
            break failure;
        }
        answers += pair.session_says().len();
        assert!(pair.session.held_bytes() < 1000 && answers < 10_000);
    };
    assert!(failure.to_string().contains("TooManyKeyUpdateRequests"), "{failure}");
}

/// Beginnings of records, so that what follows is looked at.
const PREFIXES: [&[u8]; 4] = [&[], &[0x16, 0x03, 0x01], &[0x17, 0x03, 0x03, 0x40, 0x00], &[0x15, 0x03, 0x03]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Both ways at once, in writes, batches and receives of any size, every byte in its place.
    #[test]
    fn bytes_keep_their_place(
        old in any::<bool>(),
        writes in prop::collection::vec(1..40_000_usize, 1..12),
        pieces in prop::collection::vec(1..70_000_usize, 1..12),
        receives in prop::collection::vec(1..61_440_usize, 1..20),
    ) {
        let mut pair = Pair::established(if old { TLS12 } else { TLS13 });
        let up = pattern(writes.iter().sum());
        let mut at = 0;
        for len in &writes {
            pair.client_writes(&up[at..at + len]);
            at += len;
        }
        let ciphertext = pair.client_says();
        let mut rest = &ciphertext[..];
        for len in receives.iter().cycle() {
            let (now, later) = rest.split_at((*len).min(rest.len()));
            pair.hear(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(pair.heard == up);

        let down = pattern(pieces.iter().sum());
        let mut at = 0;
        let mut batch = Vec::new();
        for (index, len) in pieces.iter().enumerate() {
            batch.push(Bytes::copy_from_slice(&down[at..at + len]));
            at += len;
            let full = batch.iter().map(Bytes::len).sum::<usize>() > EGRESS_BATCH_BYTES_MAX;
            if full || index + 1 == pieces.len() {
                let ciphertext = pair.say(std::mem::take(&mut batch));
                pair.tell_client(&ciphertext).unwrap();
            }
        }
        prop_assert!(pair.client_reads() == (down, false));
        prop_assert_eq!(pair.session.held_bytes(), 0);
    }

    /// Bytes that are no TLS never make it panic, and never make it hold much.
    #[test]
    fn no_bytes_make_it_panic(
        prefix in prop::sample::select(PREFIXES.to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0..300_usize,
        past_handshake in any::<bool>(),
    ) {
        let mut pair = Pair::established(TLS13);
        if !past_handshake {
            let authority = super::pair::Authority::new();
            let config = super::pair::server(&authority, crate::stream::tls::TlsMinVersion::Tls12);
            pair.session = TlsSession::accept(config, None).unwrap();
        }
        let all = [prefix, &bytes].concat();
        let (first, second) = all.split_at(cut.min(all.len()));
        let _ = pair.hear(first);
        let _ = pair.hear(second);
        prop_assert!(pair.heard.is_empty());
        prop_assert!(pair.session.held_bytes() <= 64 * 1024);
    }
}

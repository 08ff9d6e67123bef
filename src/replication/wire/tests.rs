//! Frames: what is written is read, and whatever else is an error.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::causal::{Hlc, Page, Pages, ReplicaId, Transaction, VersionVector};
use crate::laws::Rng;
use crate::replication::message::{Batch, ByeCode, Have, Hello, Live, Message, PagesOf, Pull, Push};

const SPACES: [[u8; 16]; 2] = [[7; 16], [9; 16]];

fn replica(rng: &mut Rng) -> ReplicaId {
    ReplicaId::from_u128(u128::from(rng.below(6)) << 64 | 5)
}

fn byte(rng: &mut Rng) -> u8 {
    u8::try_from(rng.below(256)).unwrap()
}

/// Transactions behind which something follows say how long they are.
fn write_all(mut frame: encode::Frame<'_>, messages: &[Message]) -> Vec<u8> {
    for (at, message) in messages.iter().enumerate() {
        if let Message::Push(push) = message {
            frame.push(push, at + 1 == messages.len());
        } else {
            frame.message(message);
        }
    }
    frame.into_bytes()
}

fn version(rng: &mut Rng) -> VersionVector {
    (0..rng.below(5)).map(|_| (replica(rng), 1 + rng.below(1_000))).collect()
}

fn transaction(rng: &mut Rng) -> Transaction {
    let mut ids: Vec<ReplicaId> = (0..1 + rng.below(3)).map(|_| replica(rng)).collect();
    ids.sort_unstable();
    ids.dedup();
    let origin = u32::try_from(rng.index(ids.len())).unwrap();
    let others = (0..u32::try_from(ids.len()).unwrap()).filter(|place| *place != origin);
    let mut deps = Vec::new();
    for place in others {
        if rng.chance(50) {
            deps.push((place, 1 + rng.below(500)));
        }
    }
    let rows = 1 + rng.below(3);
    let stamp = rng.chance(60).then(|| Hlc::from_bits(rng.next_u64() >> rng.below(60)));
    let body: Vec<u8> = (0..4 * rows + rng.below(30)).map(|_| byte(rng)).collect();
    let lo = if rng.chance(10) { (1 << 63) - 5 } else { 1 + rng.below(1_000) };
    Transaction { ids, origin, lo, rows, deps, stamp, body: body.into() }
}

fn pages(rng: &mut Rng) -> Pages {
    let mut pages = Pages::default();
    for (id, seq) in version(rng).iter() {
        let page = |last| Page { last, fingerprint: last * 3 };
        let of = if rng.chance(50) && seq > 1 { vec![page(seq - 1), page(seq)] } else { vec![page(seq)] };
        assert!(pages.push(id, of));
    }
    pages
}

fn message(rng: &mut Rng) -> Message {
    match rng.below(7) {
        0 => Message::Hello(Hello {
            replica: rng.chance(50).then(|| replica(rng)),
            is_question: rng.chance(50),
            takes_nothing: rng.chance(50),
            version_digest: rng.next_u64(),
            state_digest: [3; 16],
        }),
        1 => Message::Pull(Pull {
            id: rng.below(300),
            grafts: version(rng).iter().map(|(id, _seq)| id).collect(),
            resume: rng.chance(50).then(|| (rng.next_u64(), rng.below(1 << 40))),
            base: version(rng),
            live: match rng.below(3) {
                0 => Live::Short,
                1 => Live::Whole,
                _ => Live::Pages(Arc::new(pages(rng))),
            },
            all_points: rng.chance(50),
        }),
        2 => Message::Batch(Batch {
            pull: rng.below(300),
            answer: rng.next_u64(),
            offset: rng.below(1 << 40),
            is_last: rng.chance(50),
            bytes: Bytes::from(vec![1; rng.index(50)]),
        }),
        3 => Message::Have(Have {
            accepts_all: rng.chance(50),
            is_to_be_pulled: rng.chance(50),
            seqs: version(rng).iter().collect(),
            declines: version(rng).iter().map(|(id, _seq)| id).collect(),
        }),
        4 => Message::Pages(PagesOf { pull: rng.below(300), pages: pages(rng) }),
        5 => Message::Bye { code: ByeCode::from_number(rng.below(9)), text: String::from("so long") },
        _ => Message::Push(Push { transaction: Arc::new(transaction(rng)), is_early: rng.chance(30) }),
    }
}

#[test]
fn what_is_written_is_read_on_links_of_either_kind() {
    for (seed, is_ordered) in (0..300).flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut rng = Rng::new(seed);
        let (mut encoder, mut decoder) = (Encoder::new(is_ordered), Decoder::new(is_ordered));
        let mut kept: Vec<(Vec<u8>, decode::Named)> = Vec::new();
        for _ in 0..40 {
            let space = *rng.pick(&SPACES).unwrap();
            let messages: Vec<Message> = (0..1 + rng.index(3)).map(|_| message(&mut rng)).collect();
            let bytes = write_all(encoder.frame(space), &messages);
            let expected = decode::Named { space, messages };
            assert_eq!(decoder.frame(&bytes).as_ref(), Ok(&expected), "seed {seed}, ordered {is_ordered}");
            kept.push((bytes, expected));
        }
        if !is_ordered {
            // Each frame stands alone: in any order, any number of times.
            for _ in 0..40 {
                let (bytes, expected) = rng.pick(&kept).unwrap();
                assert_eq!(decoder.frame(bytes).as_ref(), Ok(expected));
            }
        }
    }
}

#[test]
fn bytes_that_are_no_frame_are_an_error_and_never_a_panic() {
    let mut rng = Rng::new(1);
    for round in 0..3_000 {
        let is_ordered = round % 2 == 0;
        let mut encoder = Encoder::new(is_ordered);
        let mut frame = encoder.frame(SPACES[0]);
        frame.message(&message(&mut rng));
        let mut bytes = frame.into_bytes();
        for _ in 0..1 + rng.index(3) {
            let at = rng.index(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = byte(&mut rng),
                1 => bytes.truncate(at),
                _ => bytes.insert(at, byte(&mut rng)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let mut decoder = Decoder::new(is_ordered);
        // Whatever it is, it is read or refused; and what is read can be written.
        if let Ok(named) = decoder.frame(&bytes) {
            let mut encoder = Encoder::new(false);
            let bytes = write_all(encoder.frame(named.space), &named.messages);
            assert_eq!(Decoder::new(false).frame(&bytes).map(|read| read.messages), Ok(named.messages));
        }
    }
}

#[test]
fn a_count_that_the_frame_cannot_hold_is_refused_before_memory_is_taken() {
    let mut frame = vec![PROTOCOL, 0];
    frame.extend([0; 16]);
    for message in [
        &[HAVE, 0, 0xff, 0xff, 0x3f][..],
        &[PUSH, 0, 0xff, 0xff, 0x3f],
        &[BATCH, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x3f],
    ] {
        let bytes = [&frame[..], message].concat();
        assert!(Decoder::new(true).frame(&bytes).is_err());
    }
}

#[test]
fn a_number_that_was_not_named_is_refused() {
    let store = [PROTOCOL, 1, BYE, 1, 0];
    assert!(Decoder::new(true).frame(&store).is_err());
    assert!(Decoder::new(false).frame(&store).is_err());
    let mut frame = vec![PROTOCOL, 0];
    frame.extend([0; 16]);
    frame.extend([HAVE, 0, 1, 1, 1]);
    assert!(Decoder::new(true).frame(&frame).is_err());
    assert!(Decoder::new(false).frame(&frame).is_err());
}

#[test]
fn a_text_is_cut_between_its_characters() {
    let long = Message::Bye { code: ByeCode::Failed, text: "é".repeat(400) };
    let mut encoder = Encoder::new(false);
    let mut frame = encoder.frame(SPACES[0]);
    frame.message(&long);
    let read = Decoder::new(false).frame(&frame.into_bytes()).unwrap();
    assert_eq!(read.messages, [Message::Bye { code: ByeCode::Failed, text: "é".repeat(TEXT_MAX / 2) }]);
}

//! Every message of `docs/protocol.md`, as bytes that do not change: `tests/golden/v1.frames-ordered` and `v1.frames-alone` have a frame in
//! each line, with its name. They are made once, with `TOMBOLO_GOLDEN=write`; who changes the bytes of a message makes a new version of them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::decode::Named;
use super::{Decoder, Encoder};
use crate::causal::{Hlc, Page, Pages, ReplicaId, Transaction, VersionVector};
use crate::replication::message::{Batch, ByeCode, Have, Hello, Live, Message, PagesOf, Pull, Push};

const SPACE: [u8; 16] = *b"the first space.";
const OTHER: [u8; 16] = *b"another space...";
const VERSION: u32 = 1;

fn id(number: u8) -> ReplicaId {
    ReplicaId::from_bytes([number; 16])
}

fn hello(replica: Option<ReplicaId>, is_question: bool, takes_nothing: bool) -> Message {
    let state_digest = *b"0123456789abcdef";
    Message::Hello(Hello { replica, is_question, takes_nothing, version_digest: 0x0102_0304_0506_0708, state_digest })
}

fn pull(number: u64, grafts: &[u8], resume: Option<(u64, u64)>, base: &[(u8, u64)]) -> Message {
    let base: VersionVector = base.iter().map(|(replica, seq)| (id(*replica), *seq)).collect();
    let grafts = grafts.iter().map(|replica| id(*replica)).collect();
    Message::Pull(Pull { id: number, grafts, resume, base, live: Live::Short, all_points: false })
}

fn pull_with(number: u64, live: Live) -> Message {
    let (base, all_points) = ([(id(1), 300)].into_iter().collect(), matches!(live, Live::Short));
    Message::Pull(Pull { id: number, grafts: Vec::new(), resume: None, base, live, all_points })
}

fn pages() -> Pages {
    let page = |last, fingerprint| Page { last, fingerprint };
    let mut pages = Pages::default();
    assert!(pages.push(id(1), vec![page(9, 0x0102_0304_0506_0708), page(300, 1)]));
    assert!(pages.push(id(7), vec![page(1 << 40, 0)]));
    pages
}

fn batch(offset: u64, is_last: bool, bytes: &'static [u8]) -> Message {
    Message::Batch(Batch { pull: 300, answer: 0x1122_3344_5566_7788, offset, is_last, bytes: Bytes::from_static(bytes) })
}

fn have(accepts_all: bool, is_to_be_pulled: bool, seqs: &[(u8, u64)], declines: &[u8]) -> Message {
    let seqs = seqs.iter().map(|(replica, seq)| (id(*replica), *seq)).collect();
    Message::Have(Have { accepts_all, is_to_be_pulled, seqs, declines: declines.iter().map(|replica| id(*replica)).collect() })
}

/// One row, which needs nothing but what its writer did before.
fn small(lo: u64, stamp: Option<(u64, u16)>, is_early: bool) -> Message {
    let stamp = stamp.map(|(ms, count)| Hlc::new(ms, count));
    let body = Bytes::from_static(b"a row");
    let transaction = Transaction { ids: vec![id(1)], origin: 0, lo, rows: 1, deps: Vec::new(), stamp, body };
    Message::Push(Push { transaction: Arc::new(transaction), is_early })
}

/// Two rows, which need what two others have written.
fn large() -> Message {
    let body = Bytes::from_static(b"two rows and more");
    let stamp = Some(Hlc::new(1_700_000_000_500, 0));
    let deps = vec![(0, 7), (2, 1 << 40)];
    let transaction = Transaction { ids: vec![id(1), id(2), id(3)], origin: 1, lo: 41, rows: 2, deps, stamp, body };
    Message::Push(Push { transaction: Arc::new(transaction), is_early: false })
}

/// What a link carries, one after the other: names, and what each frame says.
fn story() -> Vec<(&'static str, [u8; 16], Vec<Message>)> {
    let text = String::from("so long");
    vec![
        ("hello-question-unnamed", SPACE, vec![hello(None, true, false)]),
        ("hello-named", SPACE, vec![hello(Some(id(1)), false, false)]),
        ("hello-takes-nothing", SPACE, vec![hello(Some(id(1)), true, true)]),
        ("pull-of-nothing", SPACE, vec![pull(1, &[], None, &[])]),
        ("pull", SPACE, vec![pull(2, &[], None, &[(1, 5), (2, 200)])]),
        (
            "pull-with-grafts-and-resume",
            SPACE,
            vec![pull(3, &[2, 3], Some((0x1122_3344_5566_7788, 70_000)), &[(1, 6), (2, 200)])],
        ),
        ("pull-of-less-than-before", SPACE, vec![pull(4, &[], None, &[(2, 200)])]),
        ("batch", SPACE, vec![batch(0, false, b"the first piece")]),
        ("batch-last", SPACE, vec![batch(15, true, b"")]),
        ("push", SPACE, vec![small(9, Some((1_700_000_000_000, 3)), false)]),
        ("push-that-was-likely", SPACE, vec![small(10, Some((1_700_000_000_001, 0)), false)]),
        ("push-early-without-stamp", SPACE, vec![small(11, None, true)]),
        ("push-with-dependencies", SPACE, vec![large()]),
        ("push-of-an-earlier-one", SPACE, vec![small(2, Some((1_600_000_000_000, 0xffff)), false)]),
        ("pushes-sized-and-to-the-end", SPACE, vec![small(12, None, false), large(), small(13, None, false)]),
        ("have", SPACE, vec![have(false, false, &[(1, 13), (2, 42)], &[])]),
        ("have-with-declines", SPACE, vec![have(false, true, &[(3, 1)], &[1, 4])]),
        ("have-accepts-all", SPACE, vec![have(true, false, &[], &[])]),
        ("have-and-hello", SPACE, vec![have(false, false, &[(5, 1)], &[]), hello(Some(id(1)), false, false)]),
        ("another-space", OTHER, vec![pull(5, &[], None, &[(1, 5)])]),
        ("push-to-another-space", OTHER, vec![small(1, Some((1_700_000_000_000, 0)), false)]),
        ("first-space-again", SPACE, vec![pull(6, &[], None, &[(2, 201)])]),
        ("pages", SPACE, vec![Message::Pages(PagesOf { pull: 6, pages: pages() })]),
        ("pull-with-pages", SPACE, vec![pull_with(7, Live::Pages(Arc::new(pages())))]),
        ("pull-of-a-whole-list", SPACE, vec![pull_with(8, Live::Whole)]),
        ("pull-of-all-points", SPACE, vec![pull_with(9, Live::Short)]),
        ("bye", SPACE, vec![Message::Bye { code: ByeCode::Malformed, text }]),
        ("bye-of-a-later-version", SPACE, vec![Message::Bye { code: ByeCode::Other(77), text: String::new() }]),
    ]
}

fn encoded(is_ordered: bool) -> Vec<(String, Vec<u8>)> {
    let mut encoder = Encoder::new(is_ordered);
    let frames = story().into_iter().map(|(name, space, messages)| {
        let mut frame = encoder.frame(space);
        for (at, message) in messages.iter().enumerate() {
            match message {
                Message::Push(push) => frame.push(push, at + 1 == messages.len()),
                Message::Hello(_)
                | Message::Pull(_)
                | Message::Pages(_)
                | Message::Batch(_)
                | Message::Have(_)
                | Message::Bye { .. } => frame.message(message),
            }
        }
        (name.to_owned(), frame.into_bytes())
    });
    frames.collect()
}

fn path(is_ordered: bool) -> PathBuf {
    let kind = if is_ordered { "ordered" } else { "alone" };
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("v{VERSION}.frames-{kind}")].iter().collect()
}

fn golden(is_ordered: bool) -> Vec<(String, Vec<u8>)> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let text = fs::read_to_string(path(is_ordered)).unwrap();
    let frame = |line: &str| {
        let (name, bytes) = line.split_once(' ').unwrap();
        (name.to_owned(), bytes.as_bytes().chunks(2).map(byte).collect())
    };
    text.lines().map(frame).collect()
}

#[test]
fn every_message_is_written_as_it_was() {
    for is_ordered in [true, false] {
        let frames = encoded(is_ordered);
        if std::env::var_os("TOMBOLO_GOLDEN").is_some_and(|what| what == "write") {
            let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
            let lines: Vec<String> = frames.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
            fs::write(path(is_ordered), lines.concat()).unwrap();
        }
        let golden = golden(is_ordered);
        assert_eq!(golden.len(), frames.len());
        for ((name, bytes), (expected_name, expected)) in frames.iter().zip(&golden) {
            assert_eq!(name, expected_name);
            assert_eq!(bytes, expected, "{name}, ordered {is_ordered}");
        }
    }
}

#[test]
fn every_frame_that_was_written_is_read() {
    for is_ordered in [true, false] {
        let mut decoder = Decoder::new(is_ordered);
        let golden = golden(is_ordered);
        assert_eq!(golden.len(), story().len());
        for ((name, bytes), (_, space, messages)) in golden.iter().zip(story()) {
            assert_eq!(decoder.frame(bytes), Ok(Named { space, messages }), "{name}, ordered {is_ordered}");
        }
    }
    // Each stands alone: in any order.
    for ((name, bytes), (_, space, messages)) in golden(false).iter().zip(story()).rev() {
        assert_eq!(Decoder::new(false).frame(bytes), Ok(Named { space, messages }), "{name}");
    }
}

//! What goes over a connection before and around frames, as bytes that do not change: `tests/golden/v1.tcp` has a name and bytes in each line.
//! It is made once, with `TOMBOLO_GOLDEN=write`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::TcpError;
use super::frame::{FrameReader, write_frame, write_sign_of_life};
use super::preface::{NodeId, Verdict, introduce};

const WITHIN: Duration = Duration::from_secs(10);
const HERE: NodeId = *b"the id from here";
const THERE: NodeId = *b"that of there...";
const PREFACE_LEN: usize = 25;

/// What an end says to one that begins with these bytes, and what it thinks of it.
async fn said(to: &[u8], verdict: Verdict) -> (Vec<u8>, Result<NodeId, TcpError>) {
    let (mut here, mut there) = tokio::io::duplex(1000);
    there.write_all(to).await.unwrap();
    let result = introduce(&mut here, HERE, WITHIN, |_other| verdict).await;
    drop(here);
    let mut said = Vec::new();
    there.read_to_end(&mut said).await.unwrap();
    (said, result)
}

fn preface_of(version: u8, id: NodeId, verdict: u8) -> Vec<u8> {
    [&b"tombolo\n"[..], &[version], &id, &[verdict]].concat()
}

async fn made() -> Vec<(&'static str, Vec<u8>)> {
    let welcome = preface_of(1, THERE, 0);
    let (greeted, _) = said(&welcome, Verdict::Welcome).await;
    let mut made = vec![("preface", greeted[..PREFACE_LEN].to_vec())];
    let verdicts = [
        ("welcome", said(&welcome, Verdict::Welcome).await),
        ("other-version", said(&preface_of(9, THERE, 0), Verdict::Welcome).await),
        ("oneself", said(&preface_of(1, HERE, 0), Verdict::Welcome).await),
        ("already-connected", said(&welcome, Verdict::AlreadyConnected).await),
        ("full", said(&welcome, Verdict::Full).await),
    ];
    made.extend(verdicts.into_iter().map(|(name, (said, _))| (name, said[PREFACE_LEN..].to_vec())));
    let mut bytes = Vec::new();
    write_sign_of_life(&mut bytes).await.unwrap();
    made.push(("sign-of-life", std::mem::take(&mut bytes)));
    for (name, len) in
        [("frame-empty", 0), ("frame-of-3", 3), ("frame-of-126", 126), ("frame-of-127", 127), ("frame-of-300", 300)]
    {
        write_frame(&mut bytes, &vec![7; len]).await.unwrap();
        made.push((name, std::mem::take(&mut bytes)));
    }
    made
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", "v1.tcp"].iter().collect()
}

fn golden() -> Vec<(String, Vec<u8>)> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let text = fs::read_to_string(path()).unwrap();
    let entry = |line: &str| {
        let (name, bytes) = line.split_once(' ').unwrap();
        (name.to_owned(), bytes.as_bytes().chunks(2).map(byte).collect())
    };
    text.lines().map(entry).collect()
}

#[tokio::test]
async fn what_ends_say_is_written_as_it_was() {
    let made = made().await;
    if std::env::var_os("TOMBOLO_GOLDEN").is_some_and(|what| what == "write") {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let lines: Vec<String> = made.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
        fs::write(path(), lines.concat()).unwrap();
    }
    let golden = golden();
    assert_eq!(golden.len(), made.len());
    for ((name, bytes), (expected_name, expected)) in made.iter().zip(&golden) {
        assert_eq!(name, expected_name);
        assert_eq!(bytes, expected, "{name}");
    }
}

#[tokio::test]
async fn what_was_written_is_read() {
    let golden = golden();
    let of = |name: &str| golden.iter().find(|(of, _)| of == name).unwrap().1.clone();
    let judged = async |verdict: &str| said(&[of("preface"), of(verdict)].concat(), Verdict::Welcome).await.1;
    // The same id: nobody else's.
    assert!(matches!(judged("welcome").await, Err(TcpError::Oneself)));
    let other = [&of("preface")[..9], &THERE].concat();
    let judged = async |verdict: &str| said(&[other.clone(), of(verdict)].concat(), Verdict::Welcome).await.1;
    assert_eq!(judged("welcome").await.unwrap(), THERE);
    assert!(matches!(judged("other-version").await, Err(TcpError::OtherVersion { .. })));
    assert!(matches!(judged("oneself").await, Err(TcpError::Oneself)));
    assert!(matches!(judged("already-connected").await, Err(TcpError::AlreadyConnected)));
    assert!(matches!(judged("full").await, Err(TcpError::Full { here: false })));

    let frames = ["frame-empty", "sign-of-life", "frame-of-3", "frame-of-126", "sign-of-life", "frame-of-127", "frame-of-300"];
    let bytes: Vec<u8> = frames.iter().flat_map(|name| of(name)).collect();
    let mut reader = FrameReader::new(&*bytes, WITHIN);
    for len in [0, 3, 126, 127, 300] {
        assert_eq!(reader.next().await.unwrap(), vec![7; len]);
    }
    assert!(matches!(reader.next().await, Err(TcpError::Closed)));
}

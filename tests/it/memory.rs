//! A first sync of a store that is four times larger than the memory of the process that makes it, and of the one that merges it.
//!
//! `TOMBOLO_MEMORY_MIB` sets the limit; by default it is small, to be quick.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Output};

use tombolo::Store;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::codec::{Writer, write_frame};
use tombolo::kv::Applied;
use tombolo::storage::Redb;

use crate::forge::{REGISTER, frames, path, stamped};
use crate::sync::replica;

const ROLE: &str = "TOMBOLO_MEMORY_ROLE";
const FOLDER: &str = "TOMBOLO_MEMORY_FOLDER";

/// How many MiB of address space a child has, besides the program itself.
fn limit_mib() -> u64 {
    std::env::var("TOMBOLO_MEMORY_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(24)
}

/// The KiB of address space that the program takes: it grows with every test in it, which says nothing of what is tested here.
pub(crate) fn program_kib() -> u64 {
    let program = std::env::current_exe().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let own = maps.lines().filter(|line| line.ends_with(program.to_str().unwrap()));
    let ranges = own.filter_map(|line| line.split(' ').next()?.split_once('-'));
    let bytes = ranges.map(|(from, to)| u64::from_str_radix(to, 16).unwrap() - u64::from_str_radix(from, 16).unwrap());
    bytes.sum::<u64>() >> 10
}

fn open(folder: &Path, name: &str) -> Store {
    let backend = Redb::options().cache_bytes(8 << 20).open(folder.join(name)).unwrap();
    Store::options().delta_memory(4 << 20).open_backend(backend).unwrap()
}

/// Runs a part of this file in a process of its own, whose memory is limited.
fn child(folder: &Path, role: &str) -> Output {
    let shell = format!("ulimit -v {} && exec \"$0\" \"$@\"", (limit_mib() << 10) + program_kib());
    let arguments = ["memory::with_little_memory", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    Command::new("sh")
        .args([OsStr::new("-c"), OsStr::new(&shell), std::env::current_exe().unwrap().as_os_str()])
        .args(arguments)
        .env(ROLE, role)
        .env(FOLDER, folder)
        // A thread's own arena takes 64 MiB of addresses, and no memory.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

fn succeeds(folder: &Path, role: &str) {
    let output = child(folder, role);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{role}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", said.lines().filter(|line| line.starts_with("peak")).map(|line| format!("{line}\n")).collect::<String>());
}

#[test]
fn a_first_sync_takes_a_quarter_of_the_memory_that_the_store_has() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bytes = 4 * (limit_mib() << 20);
    // Large values, many more small ones, some of it written twice, some deleted.
    let source = open(folder, "source");
    let mut written = 0;
    for round in 0.. {
        let (large, small) = (64, 2_000);
        source
            .transact(|tx| {
                (0..large).try_for_each(|key| tx.register::<Vec<u8>>((round, "large", key)).set(&vec![7_u8; 8 << 10]))?;
                (0..small).try_for_each(|key| tx.register::<u64>(("small", key, round)).set(&key))?;
                (0..20).try_for_each(|key| tx.register::<u64>(("often", key)).set(&round))?;
                (0..10).try_for_each(|key| tx.delete(("small", key, round / 2)).map(drop))
            })
            .unwrap();
        written += large * (8 << 10);
        if written > bytes {
            break;
        }
    }
    let digest = source.digest().unwrap();
    drop(source);
    succeeds(folder, "write the delta");
    let delta = File::open(folder.join("delta")).unwrap().metadata().unwrap().len();
    println!("a delta of {} MiB, {} MiB of memory", delta >> 20, limit_mib());
    succeeds(folder, "merge the delta");
    let target = open(folder, "target");
    assert_eq!(target.digest().unwrap(), digest);
    target.check().unwrap();
    // And that the limit is one: what holds the delta in memory does not get through.
    assert!(delta >= bytes);
    assert!(!child(folder, "merge it from memory").status.success());
}

#[test]
fn a_small_transaction_of_many_long_paths_takes_little_memory() {
    // Rows share a prefix of a kibibyte on the wire, and each is written with all of it, twice.
    let folder = tempfile::tempdir().unwrap();
    let rows = (4 * limit_mib()) << 10;
    let space = frames(replica(1).delta_since(&VersionVector::new()).unwrap().as_ref()).remove(0).1;
    let mut to = Writer::new();
    to.raw(&space[..16]);
    to.u64(1);
    to.raw(&ReplicaId::from_u128(1).to_bytes());
    // Origin, first event, no dependencies.
    [0, 1, 0, rows << 1].into_iter().for_each(|number| to.u64(number));
    let mut last: Vec<u8> = Vec::new();
    for row in 0..rows {
        let path = path(("x".repeat(950), row), REGISTER);
        let shared = last.iter().zip(&path).take_while(|(a, b)| a == b).count();
        to.u64(shared as u64);
        to.bytes(&path[shared..]);
        to.u8(1);
        to.bytes(&stamped(1, &[1]));
        to.u64(0);
        last = path;
    }
    let mut bytes = Vec::new();
    write_frame(&mut bytes, 0, 3, to.as_slice());
    assert!(bytes.len() as u64 * 40 < rows << 10, "{} bytes", bytes.len());
    std::fs::write(folder.path().join("pushed"), bytes).unwrap();
    succeeds(folder.path(), "apply the transaction");
    let store = open(folder.path(), "pushed to");
    assert_eq!(store.status().unwrap().rows, rows);
}

/// What a delta from below the floor leaves out is dropped here: a few bytes can make a commit of every row that there is.
#[test]
fn a_small_delta_that_ends_many_rows_takes_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (8 * limit_mib()) << 10;
    let (target, peer) = (open(folder.path(), "emptied"), Store::in_memory());
    for start in (0..rows).step_by(1 << 14) {
        let key = |row: u64| ("a key that is not much longer than others", row);
        target.transact(|tx| (start..start + (1 << 14)).try_for_each(|row| tx.register::<u8>(key(row)).set(&1))).unwrap();
    }
    peer.merge(target.delta_since(&VersionVector::new()).unwrap()).unwrap();
    peer.delete_prefix(()).unwrap();
    peer.forget_deletes(&peer.version().unwrap()).unwrap();
    let delta = peer.delta_since(&target.version().unwrap()).unwrap();
    assert!(delta.as_ref().len() < 1_000, "{} bytes", delta.as_ref().len());
    std::fs::write(folder.path().join("end"), delta).unwrap();
    drop(target);
    succeeds(folder.path(), "merge the end");
    let target = open(folder.path(), "emptied");
    assert_eq!(target.canonical().unwrap(), peer.canonical().unwrap());
    target.check().unwrap();
}

#[test]
#[ignore = "a part of the other tests, which run it with little memory"]
fn with_little_memory() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    match std::env::var(ROLE).unwrap().as_str() {
        "write the delta" => {
            let mut file = BufWriter::new(File::create(folder.join("delta")).unwrap());
            let bytes = open(folder, "source").write_delta_since(&VersionVector::new(), &mut file).unwrap();
            drop(file);
            assert_eq!(bytes, File::open(folder.join("delta")).unwrap().metadata().unwrap().len());
        }
        "merge the delta" => {
            let merged = open(folder, "target").merge_from(File::open(folder.join("delta")).unwrap()).unwrap();
            assert!(merged.changed && merged.below_floor);
        }
        "merge it from memory" => {
            let delta = std::fs::read(folder.join("delta")).unwrap();
            open(folder, "other").merge(delta).unwrap();
        }
        "merge the end" => {
            let merged = open(folder, "emptied").merge_from(File::open(folder.join("end")).unwrap()).unwrap();
            assert!(merged.changed && merged.below_floor);
        }
        "apply the transaction" => {
            let pushed = std::fs::read(folder.join("pushed")).unwrap();
            assert!(matches!(open(folder, "pushed to").apply(pushed).unwrap(), Applied::Merged(_)));
        }
        role => panic!("{role}"),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    println!("\npeak {}: {}, {}", std::env::var(ROLE).unwrap(), of("VmPeak"), of("VmHWM"));
}

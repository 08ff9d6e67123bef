//! A store that is four times larger than the memory of the process that gives it, and of the one that takes it, goes to a new replica
//! over TCP. The connection breaks three times: what has come by then is not sent again.
//!
//! `TOMBOLO_SYNC_MIB` sets the limit, besides the program itself.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_bytes::ByteBuf;
use tombolo::Store;
use tombolo::causal::VersionVector;
use tombolo::kv::{Digest, Durability};
use tombolo::node::Node;
use tombolo::replication::Config;
use tombolo::sim::Rng;
use tombolo::storage::Redb;

use crate::memory::program_kib;

const ROLE: &str = "TOMBOLO_SYNC_ROLE";
const FOLDER: &str = "TOMBOLO_SYNC_FOLDER";
const ADDRESS: &str = "TOMBOLO_SYNC_ADDRESS";
const DIGEST: &str = "TOMBOLO_SYNC_DIGEST";
const RESUMES: &str = "TOMBOLO_SYNC_RESUMES";
const DEADLINE: Duration = Duration::from_secs(300);
const BREAKS: u64 = 3;

/// The address space that a child may take, in bytes.
fn limit() -> u64 {
    let mib = std::env::var("TOMBOLO_SYNC_MIB").ok().and_then(|mib| mib.parse().ok()).unwrap_or(64_u64);
    (mib << 20) + (program_kib() << 10)
}

fn open(folder: &Path, name: &str) -> Store {
    let backend = Redb::options().cache_bytes(8 << 20).open(folder.join(name)).unwrap();
    Store::options().delta_memory(4 << 20).open_backend(backend).unwrap()
}

/// Fills a store with more than `bytes` that do not compress, in large values and small ones.
fn fill(store: &Store, bytes: u64) {
    let (large, small, mut rng) = (500_u64, 2_000_u64, Rng::new(1));
    let mut value =
        |len: usize| ByteBuf::from((0..len).step_by(8).flat_map(|_| rng.next_u64().to_le_bytes()).collect::<Vec<u8>>());
    for round in 0..=bytes / (large * (8 << 10)) {
        let tx = store.begin().unwrap();
        tx.durability(Durability::Deferred);
        (0..large).for_each(|key| tx.register::<ByteBuf>(("large", round, key)).set(&value(8 << 10)).unwrap());
        (0..small).for_each(|key| tx.register::<ByteBuf>(("small", key, round)).set(&value(16)).unwrap());
        tx.commit().unwrap();
    }
}

/// Runs a part of this file in a process of its own, whose address space is limited.
fn child(folder: &Path, role: &str, more: &[(&str, &str)]) -> Child {
    let shell = format!("ulimit -v {} && exec \"$0\" \"$@\"", limit() >> 10);
    let arguments = ["large_sync::with_a_limit", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    Command::new("sh")
        .args([OsStr::new("-c"), OsStr::new(&shell), std::env::current_exe().unwrap().as_os_str()])
        .args(arguments)
        .env(ROLE, role)
        .env(FOLDER, folder)
        // Answers on their way wait there.
        .env("TMPDIR", folder)
        .envs(more.iter().copied())
        // A thread's own arena takes 64 MiB of addresses, and no memory.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn succeeded(status: ExitStatus, said: &[u8], errors: &[u8]) {
    let said = String::from_utf8_lossy(said);
    assert!(status.success(), "{said}\n{}", String::from_utf8_lossy(errors));
    said.lines().filter(|line| line.starts_with("peak")).for_each(|line| println!("{line}"));
}

/// Carries bytes between a node and those who dial it, and breaks the connection each time that so many more have gone to them.
struct Proxy {
    listener: TcpListener,
    to: String,
    break_every: u64,
    carried: AtomicU64,
    breaks: AtomicU64,
    has_ended: AtomicBool,
}

impl Proxy {
    fn run(&self) {
        thread::scope(|scope| {
            while let Ok((near, _address)) = self.listener.accept() {
                if self.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let far = TcpStream::connect(&self.to).unwrap();
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                scope.spawn(move || {
                    // The other direction breaks it.
                    io::copy(&mut &near_too, &mut &far_too).unwrap_or_default();
                    hang_up([&near_too, &far_too]);
                });
                scope.spawn(move || {
                    self.carry(&far, &near).unwrap_or_default();
                    hang_up([&near, &far]);
                });
            }
        });
    }

    /// Until one end is gone, or the connection is to break.
    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let len = from.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..len])?;
            let carried = self.carried.fetch_add(len as u64, Ordering::SeqCst) + len as u64;
            let breaks = self.breaks.load(Ordering::SeqCst);
            if breaks < BREAKS && carried >= (breaks + 1) * self.break_every {
                self.breaks.store(breaks + 1, Ordering::SeqCst);
                return Ok(());
            }
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
    }
}

fn hang_up(ends: [&TcpStream; 2]) {
    // One of them may be gone.
    ends.into_iter().for_each(|end| end.shutdown(Shutdown::Both).unwrap_or_default());
}

/// What there is to give.
struct Source {
    digest: Digest,
    version: VersionVector,
    /// How long the answer to a new replica is, in bytes.
    answer: u64,
}

impl Source {
    fn new(folder: &Path, bytes: u64) -> Self {
        let store = open(folder, "source");
        fill(&store, bytes);
        let answer = store.write_delta_since(&VersionVector::new(), io::sink()).unwrap();
        Self { digest: store.digest().unwrap(), version: store.version().unwrap(), answer }
    }

    /// Lets one process give and another one take, and checks what the latter has in the end. Returns how many bytes were carried.
    fn transfer(&self, folder: &Path, resumes: bool) -> u64 {
        let resumes = resumes.to_string();
        let mut giver = child(folder, "give", &[(RESUMES, &resumes)]);
        let mut said = BufReader::new(giver.stdout.take().unwrap()).lines();
        let to = said.find_map(|line| line.unwrap().strip_prefix("listens at ").map(str::to_owned)).unwrap();
        let proxy = Proxy {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            to,
            break_every: self.answer / (BREAKS + 1),
            carried: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        };
        let (address, digest) = (proxy.listener.local_addr().unwrap().to_string(), self.digest.to_string());
        thread::scope(|scope| {
            scope.spawn(|| proxy.run());
            let taker = child(folder, "take", &[(ADDRESS, &address), (DIGEST, &digest), (RESUMES, &resumes)]);
            let output = taker.wait_with_output();
            proxy.end();
            let output = output.unwrap();
            succeeded(output.status, &output.stdout, &output.stderr);
        });
        drop(giver.stdin.take());
        let rest: Vec<String> = said.map(Result::unwrap).collect();
        let output = giver.wait_with_output().unwrap();
        succeeded(output.status, rest.join("\n").as_bytes(), &output.stderr);

        let (carried, breaks) = (proxy.carried.into_inner(), proxy.breaks.into_inner());
        let ratio = carried as f64 / self.answer as f64;
        println!("{carried} bytes carried for an answer of {}, {ratio:.3} of it; {breaks} breaks", self.answer);
        assert_eq!(breaks, BREAKS);
        let target = open(folder, "target");
        assert_eq!((target.digest().unwrap(), &target.version().unwrap()), (self.digest, &self.version));
        target.check().unwrap();
        carried
    }
}

#[test]
fn a_store_of_four_times_the_memory_arrives_over_a_connection_that_breaks_three_times() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let source = Source::new(folder, 4 * limit());
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{} MiB to give, {} MiB of addresses, {} of them the program",
        mib(source.answer),
        mib(limit()),
        program_kib() >> 10
    );
    assert!(source.answer >= 4 * limit());
    // The limit is one: what holds the answer in memory does not get through.
    let output = child(folder, "hold", &[]).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("memory allocation of"), "{said}");
    let carried = source.transfer(folder, true);
    assert!(carried >= source.answer && carried <= source.answer + source.answer / 4);
}

/// What the test above counts is not the same whatever happens.
#[test]
fn what_was_not_kept_is_carried_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(folder.path(), 8 << 20);
    let carried = source.transfer(folder.path(), false);
    assert!(carried > source.answer + source.answer / 2);
}

#[tokio::test]
#[ignore = "a part of the other test, which runs it with little memory"]
async fn with_a_limit() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut config = Config::default();
    config.answer_memory = 1 << 20;
    if std::env::var(RESUMES).is_ok_and(|resumes| resumes == "false") {
        config.resume_within = Duration::ZERO;
    }
    let role = std::env::var(ROLE).unwrap();
    match role.as_str() {
        "hold" => drop(open(folder, "source").delta_since(&VersionVector::new()).unwrap()),
        "give" => {
            let node = Node::builder(open(folder, "source")).config(config).listen("127.0.0.1:0").start().await.unwrap();
            println!("\nlistens at {}", node.local_addr().unwrap());
            // Until whoever has started it lets go of it.
            tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
            node.shutdown().await.unwrap();
        }
        "take" => {
            let (address, digest) = (std::env::var(ADDRESS).unwrap(), std::env::var(DIGEST).unwrap());
            let store = open(folder, "target");
            let node = Node::builder(store.clone()).config(config).peer(address).start().await.unwrap();
            let comes = async {
                while store.digest().unwrap().to_string() != digest {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(DEADLINE, comes).await.unwrap();
            node.shutdown().await.unwrap();
        }
        role => panic!("{role}"),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    println!("\npeak {role}: {}, {}", of("VmPeak"), of("VmHWM"));
}

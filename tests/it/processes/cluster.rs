//! The processes, and what can be done to them.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, read_to_string};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tombolo::Store;

use super::deeds::{self, Journal};
use super::{SOON, child};

/// Where a process runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) listen: String,
    /// The program that it is started by, with arguments; none, if it runs where the test does.
    pub(super) within: Vec<OsString>,
}

/// Places on this machine. Nobody else has their addresses, also while nobody listens there: all that dial have `127.0.0.1`.
pub(super) fn local(count: usize) -> Vec<Place> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = |_place| {
        let port = 20_000 + TAKEN.fetch_add(1, Ordering::Relaxed);
        Place { listen: format!("127.{}.{middle}.{low}:{port}", 128 + high % 64), within: Vec::new() }
    };
    (0..count).map(address).collect()
}

/// Processes that all dial each other.
pub(super) struct Cluster {
    places: Vec<Place>,
    processes: Vec<Option<Process>>,
    kills: Vec<u64>,
    folder: TempDir,
    started: Instant,
}

struct Process {
    child: Child,
    /// `None`: it is to end.
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and may be stopped.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Cluster {
    pub(super) fn start(places: Vec<Place>) -> Self {
        let (processes, kills) = (places.iter().map(|_| None).collect(), vec![0; places.len()]);
        let mut cluster = Self { places, processes, kills, folder: tempfile::tempdir().unwrap(), started: Instant::now() };
        cluster.all().for_each(|place| cluster.launch(place));
        cluster
    }

    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }

    /// Starts a process on its file, whatever is in that.
    pub(super) fn launch(&mut self, place: usize) {
        let program = std::env::current_exe().unwrap();
        let words = self.places[place].within.iter().cloned().chain([program.into_os_string()]);
        let mut words = words.chain([child::TEST, "--exact", "--ignored", "--nocapture"].map(OsString::from));
        let peers = self.places.iter().enumerate().filter(|(other, _)| *other != place);
        let peers: Vec<&str> = peers.map(|(_, place)| place.listen.as_str()).collect();
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .env(child::FOLDER, self.folder.path())
            .env(child::PLACE, place.to_string())
            .env(child::LISTEN, &self.places[place].listen)
            .env(child::PEERS, peers.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.complaints(place))
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            // Ends with the process, or with whoever listens.
            let lines = stdout.lines().map_while(Result::ok);
            let mut answers = lines.filter_map(|line| Some(line.strip_prefix(child::ANSWER)?.to_owned()));
            answers.try_for_each(|answer| tell.send(answer))
        });
        self.processes[place] = Some(Process { child, stdin, answers });
    }

    fn complaints(&self, place: usize) -> File {
        let path = self.file(place, "stderr");
        OpenOptions::new().create(true).append(true).open(path).unwrap()
    }

    fn file(&self, place: usize, ending: &str) -> PathBuf {
        self.folder.path().join(format!("{place}.{ending}"))
    }

    /// Tells a process something, and does not wait for its answer.
    pub(super) fn tell(&mut self, place: usize, command: &str) {
        let process = self.processes[place].as_mut().unwrap();
        let told = writeln!(process.stdin.as_ref().unwrap(), "{command}");
        assert!(told.is_ok(), "process {place} has ended: {}", read_to_string(self.file(place, "stderr")).unwrap());
    }

    /// What a process answers to a command.
    pub(super) fn ask(&mut self, place: usize, command: &str) -> String {
        self.tell(place, command);
        let answers = &self.processes[place].as_ref().unwrap().answers;
        // Answers to what was told before may come first.
        let mut answers = std::iter::from_fn(|| answers.recv_timeout(SOON).ok());
        let answer = answers.find_map(|line| Some(line.strip_prefix(command)?.strip_prefix(": ")?.to_owned()));
        answer.unwrap_or_else(|| {
            let complaints = read_to_string(self.file(place, "stderr")).unwrap();
            panic!("process {place} does not answer {command:?}: {complaints}")
        })
    }

    /// All begin to write, or stop it.
    pub(super) fn tell_all(&mut self, command: &str) {
        self.all().for_each(|place| drop(self.ask(place, command)));
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self, place: usize) {
        assert!(self.processes[place].take().is_some(), "it is dead already");
        self.kills[place] += 1;
    }

    pub(super) fn is_running(&self, place: usize) -> bool {
        self.processes[place].is_some()
    }

    /// Sends a signal: `STOP` or `CONT`.
    pub(super) fn signal(&self, place: usize, signal: &str) {
        let id = self.processes[place].as_ref().unwrap().child.id();
        // Built into the shell; not every machine has the program.
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until something holds. Returns how long it took.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Duration {
        let since = Instant::now();
        while !holds(self) {
            assert!(since.elapsed() < SOON, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        since.elapsed()
    }

    /// Waits until these have equal digests and versions. Returns how long it took.
    pub(super) fn converge(&mut self, places: &[usize]) -> Duration {
        self.until("equal digests and versions", |cluster| {
            let states: Vec<String> = places.iter().map(|place| cluster.ask(*place, "state")).collect();
            states.windows(2).all(|pair| pair[0] == pair[1])
        })
    }

    /// The faults are over: all converge, and have what any of them has acknowledged. Returns how many writes that are.
    pub(super) fn end(mut self, scenario: &str) -> u64 {
        self.tell_all("rest");
        let all: Vec<usize> = self.all().collect();
        let took = self.converge(&all);
        for process in &mut self.processes {
            let mut process = process.take().unwrap();
            process.stdin = None;
            assert!(process.child.wait().unwrap().success(), "it does not end in peace");
        }
        let journals: Vec<Vec<u64>> = self.all().map(|place| Journal::read(&self.file(place, "journal"))).collect();
        let stores: Vec<Store> = self.all().map(|place| Store::open(self.file(place, "tombolo")).unwrap()).collect();
        let canonical = stores[0].canonical().unwrap().into_bytes();
        for store in &stores {
            assert!(store.canonical().unwrap().into_bytes() == canonical, "equal digests, and other bytes");
            deeds::check(store, &journals, &self.kills);
        }
        let acknowledged = journals.iter().map(Vec::len).sum::<usize>() as u64;
        let (kills, written) = (self.kills.iter().sum::<u64>(), stores[0].counter("all").get().unwrap());
        println!(
            "{scenario}: {} processes, {kills} kills, {written} written, {acknowledged} acknowledged, equal after {took:.1?}, {:.1?} in all",
            stores.len(),
            self.started.elapsed()
        );
        acknowledged
    }
}

//! The three processes, and how the first one tells them what to do: JSON, a line each way.
//!
//! What a reader learns about the library: nothing. The replicas keep in step by themselves, over TCP; these lines only stand for the
//! people who use them.
//!
//! ```text
//! coordinator ── Command, on stdin ──▶ replica (this program again, in a process of its own)
//!             ◀── Answer, on stdout ──
//! ```
//!
//! A replica ends when its stdin does, so none outlives the coordinator, however that ends.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tombolo::causal::VersionVector;

use crate::Result;
use crate::catalogue::Name;
use crate::load::Loaded;
use crate::review::{Edit, Reading};

/// The three replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Site {
    Phone,
    Laptop,
    Tablet,
}

impl Site {
    pub(crate) const ALL: [Self; 3] = [Self::Phone, Self::Laptop, Self::Tablet];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Laptop => "laptop",
            Self::Tablet => "tablet",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a replica is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Write the catalogue.
    Load { data: PathBuf, key: Option<String>, review_every: u64, made_up: Vec<Name>, text_field: String },
    /// Start a node without peers, that listens at an address of its choice.
    Listen,
    /// Dial a peer, from now on.
    Link { address: SocketAddr },
    /// Wait until everything of a version is here, and so many links are up, over which nobody lacks anything.
    Settle { version: VersionVector, links: usize },
    /// Dial nobody any more.
    Cut,
    /// Wait for a peer that has everything that is here.
    AskAround,
    /// Write so many times, and wait for all peers after each.
    WriteLive { times: u32 },
    /// Make these edits, each in a transaction.
    Edit { edits: Vec<Edit> },
    /// Say what is there.
    Look,
    /// Read these records, and all values of the register under `field`.
    Read { names: Vec<Name>, field: String },
    /// Check the store, and say what it costs.
    Audit,
}

/// What a replica answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Not an answer yet: so many records are loaded.
    Progress {
        records: u64,
    },
    Loaded {
        loaded: Loaded,
        seconds: f64,
    },
    Listening {
        address: SocketAddr,
    },
    Linked,
    Settled(Settled),
    Cut,
    /// Whether there is such a peer.
    Asked {
        somebody: bool,
    },
    Written {
        seconds: f64,
    },
    Edited {
        seconds: f64,
    },
    State(State),
    Readings {
        readings: Vec<Reading>,
    },
    Audited(Audit),
    Failed {
        why: String,
    },
}

/// What came over the links of a replica, and went out, since it was asked last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settled {
    pub(crate) bytes_sent: u64,
    /// How long it took until everything was here.
    pub(crate) seconds: f64,
    pub(crate) records_changed: u64,
    /// The records of which the watch has told that there is a conflict.
    pub(crate) conflicts: Vec<Name>,
}

/// What a replica holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) records: u64,
    pub(crate) rows: u64,
    /// Values kept beside the ones shown, since they were written concurrently.
    pub(crate) kept_beside: u64,
    pub(crate) deletes: u64,
    pub(crate) version: VersionVector,
    pub(crate) digest: String,
}

/// What a replica has come to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Audit {
    pub(crate) check_seconds: f64,
    /// Everything, as one delta.
    pub(crate) whole_state_bytes: u64,
    /// A hash of those bytes: equal stores have equal bytes.
    pub(crate) whole_state_hash: String,
    pub(crate) file_bytes: u64,
    /// The most memory that the process had; `None` where the system does not tell.
    pub(crate) peak_memory_bytes: Option<u64>,
}

/// A replica's process. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    site: Site,
    child: Child,
    /// `None`: told to end.
    stdin: Option<ChildStdin>,
}

/// What comes from the processes, in the order in which it comes.
#[derive(Debug)]
enum Event {
    Answered(Answer),
    Ended,
}

impl Process {
    fn spawn(site: Site, store: &Path, events: Sender<(Site, Event)>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Program::new(program)
            .arg("replica")
            .arg(site.name())
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the {site}: {error}"))?;
        let stdout = child.stdout.take().ok_or("a process without stdout")?;
        let process = Self { site, stdin: child.stdin.take(), child };
        spawn_thread(move || forward(site, stdout, &events))?;
        Ok(process)
    }

    /// Hangs up, and waits until the process has closed its store.
    fn end(&mut self) -> Result<()> {
        self.stdin = None;
        if self.child.wait()?.success() { Ok(()) } else { Err(self.obituary().into()) }
    }

    /// How the process ended, in words.
    fn obituary(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => format!("the {} ended before its work was done ({status})", self.site),
            Err(error) => format!("the {} cannot be reached: {error}", self.site),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn forward(site: Site, stdout: ChildStdout, events: &Sender<(Site, Event)>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let answer = serde_json::from_str(&line)
            .unwrap_or_else(|error| Answer::Failed { why: format!("an answer that cannot be read: {error}") });
        if events.send((site, Event::Answered(answer))).is_err() {
            return;
        }
    }
    // Nobody waits for it any more, if this fails.
    let _sent = events.send((site, Event::Ended));
}

/// The three processes.
#[derive(Debug)]
pub(crate) struct Processes {
    processes: Vec<Process>,
    events: Receiver<(Site, Event)>,
}

impl Processes {
    /// Starts the replicas, each with a store in `folder`.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let (to, events) = std::sync::mpsc::channel();
        let start = |site: Site| Process::spawn(site, &store_in(folder, site), to.clone());
        let processes = Site::ALL.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self { processes, events })
    }

    /// The number of the process of a replica.
    pub(crate) fn id(&self, site: Site) -> u32 {
        self.processes.get(site.index()).map_or(0, |process| process.child.id())
    }

    /// Tells several replicas something at once, and waits until each has answered. The answers come in the order of the
    /// commands.
    pub(crate) fn tell<const N: usize>(
        &mut self,
        commands: [(Site, Command); N],
        progress: impl FnMut(u64),
    ) -> Result<[Answer; N]> {
        let answers = self.tell_some(commands.into(), progress)?;
        answers.try_into().map_err(|_other| "an answer to each command is expected".into())
    }

    /// The same, of as many as there are to be told.
    pub(crate) fn tell_some(&mut self, commands: Vec<(Site, Command)>, mut progress: impl FnMut(u64)) -> Result<Vec<Answer>> {
        let sites: Vec<Site> = commands.iter().map(|(site, _command)| *site).collect();
        for (site, command) in commands {
            self.send(site, &command)?;
        }
        let mut answers: Vec<Option<Answer>> = sites.iter().map(|_site| None).collect();
        while answers.iter().any(Option::is_none) {
            let (from, event) = self.events.recv().map_err(|_ended| "all replicas have ended")?;
            match event {
                Event::Answered(Answer::Progress { records }) => progress(records),
                Event::Answered(Answer::Failed { why }) => return Err(self.blame(from, &why)),
                Event::Answered(answer) => {
                    let slot = sites.iter().zip(&mut answers).find(|(site, answer)| **site == from && answer.is_none());
                    *slot.ok_or_else(|| format!("the {from} speaks without being asked"))?.1 = Some(answer);
                }
                Event::Ended => return Err(self.end_of(from).into()),
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn send(&mut self, to: Site, command: &Command) -> Result<()> {
        let process = self.processes.get_mut(to.index()).ok_or("a replica that was not started")?;
        let line = serde_json::to_string(command)?;
        let stdin = process.stdin.as_mut().ok_or("a replica that was told to end")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(|_broken_pipe| self.end_of(to).into())
    }

    /// Lets all end.
    pub(crate) fn end(mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::end)
    }

    /// A replica failed: perhaps only because the one it spoke with has died.
    fn blame(&mut self, site: Site, why: &str) -> crate::Error {
        while let Ok((other, event)) = self.events.recv_timeout(Duration::from_millis(500)) {
            let process = self.processes.get_mut(other.index());
            if let Some(process) = process.filter(|_other| other != site && matches!(event, Event::Ended))
                && !process.child.wait().is_ok_and(|status| status.success())
            {
                return process.obituary().into();
            }
        }
        format!("the {site}: {why}").into()
    }

    /// A replica ended: its own last words, if it had any.
    fn end_of(&mut self, site: Site) -> String {
        while let Ok((from, event)) = self.events.recv_timeout(Duration::from_millis(500)) {
            match event {
                Event::Answered(Answer::Failed { why }) if from == site => return format!("the {site}: {why}"),
                Event::Ended if from == site => break,
                Event::Answered(_) | Event::Ended => {}
            }
        }
        self.processes.get_mut(site.index()).map_or_else(|| format!("the {site} is not there"), Process::obituary)
    }
}

/// The file of a replica.
pub(crate) fn store_in(folder: &Path, site: Site) -> PathBuf {
    folder.join(format!("{site}.tombolo"))
}

/// Runs `body` in a thread.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn spawn_thread(body: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().spawn(body)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "an application may look at the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

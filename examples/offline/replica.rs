//! One replica: a process with a durable store, which does what it is told.
//!
//! What a reader learns: what an application does with a [`Store`] from its opening to its end, how a [`Node`] keeps it in step with
//! others while they are there, and what the library tells: versions, digests, counts, and what has changed, by a [`Watch`].

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::exit;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{fs, io};

use tokio::runtime::Runtime;
use tombolo::Store;
use tombolo::causal::VersionVector;
use tombolo::kv::{Changes, Watch};
use tombolo::node::{Ack, Node, PeerState};
use tombolo::replication::Config;
use twox_hash::XxHash3_128;

use crate::catalogue::{CATALOGUE, Name, Source};
use crate::control::{Answer, Audit, Command, Settled, State, now, spawn_thread};
use crate::load;
use crate::review::Reading;
use crate::{Result, in_full};

/// How long a replica waits for peers, before it gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long it waits for peers that are not expected.
const MOMENT: Duration = Duration::from_millis(200);

/// How long it waits until it looks again how its peers stand.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Serves the coordinator until it hangs up.
pub(crate) fn run(file: &Path) -> Result<()> {
    let commands = commands()?;
    let store = Store::open(file).map_err(|error| format!("cannot open {}: {}", file.display(), in_full(&error)));
    let mut replica = match store {
        Ok(store) => Replica::new(store, file)?,
        Err(why) => return say(&Answer::Failed { why }),
    };
    for command in commands {
        let answer = replica.obey(command).unwrap_or_else(|error| Answer::Failed { why: in_full(&*error) });
        say(&answer)?;
    }
    replica.end()
}

/// What the coordinator says. When it hangs up, this process ends: at once, if nothing is to be done; else soon.
fn commands() -> Result<Receiver<Command>> {
    const GRACE: Duration = Duration::from_secs(5);
    let (to, commands) = channel();
    spawn_thread(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else { break };
            if to.send(command).is_err() {
                break;
            }
        }
        drop(to);
        // The other thread closes the store and ends the process, unless it waits for a peer that is gone.
        wait(GRACE);
        exit(1)
    })?;
    Ok(commands)
}

#[expect(clippy::disallowed_methods, reason = "an application may wait")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn say(answer: &Answer) -> Result<()> {
    let line = serde_json::to_string(answer)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

struct Replica<'a> {
    store: Store,
    file: &'a Path,
    /// Tells what has changed in the catalogue.
    watch: Watch,
    /// Runs the node.
    runtime: Runtime,
    node: Option<Node>,
    /// Whom the node dials.
    peers: Vec<SocketAddr>,
    /// What the node had sent when it was asked last, in bytes.
    sent_before: u64,
}

impl<'a> Replica<'a> {
    fn new(store: Store, file: &'a Path) -> Result<Self> {
        let watch = store.watch(CATALOGUE);
        Ok(Self { store, file, watch, runtime: Runtime::new()?, node: None, peers: Vec::new(), sent_before: 0 })
    }

    fn obey(&mut self, command: Command) -> Result<Answer> {
        let started = now();
        Ok(match command {
            Command::Load { data, key, review_every, made_up, text_field } => {
                let source = Source::open(&data, key.as_deref())?;
                let mut progress = |records| say(&Answer::Progress { records });
                let mut loaded = load::load(&self.store, &source, review_every, &mut progress)?;
                load::make_up(&self.store, &made_up, &text_field, &mut loaded)?;
                let seconds = started.elapsed().as_secs_f64();
                self.changes()?;
                Answer::Loaded { loaded, seconds }
            }
            Command::Listen => Answer::Listening { address: self.listen()? },
            Command::Link { address } => {
                self.node()?.add_peer(address.to_string())?;
                self.peers.push(address);
                Answer::Linked
            }
            Command::Settle { version, links } => Answer::Settled(self.settle(&version, links)?),
            Command::Cut => {
                for address in std::mem::take(&mut self.peers) {
                    self.node()?.remove_peer(address.to_string())?;
                }
                // Those that have dialled this one hang up, too.
                self.look_until(|links, _in_step| links == 0)?;
                self.sent_before = self.bytes_sent()?;
                Answer::Cut
            }
            Command::AskAround => Answer::Asked { somebody: self.is_at(Ack::Peers(1), MOMENT)? },
            Command::WriteLive { times } => {
                for _ in 0..times {
                    self.store.counter("written live").add(1)?;
                    if !self.is_at(Ack::All, PATIENCE)? {
                        return Err("a peer has not got what was written".into());
                    }
                }
                Answer::Written { seconds: started.elapsed().as_secs_f64() }
            }
            Command::Edit { edits } => {
                edits.iter().try_for_each(|edit| edit.apply(&self.store))?;
                let seconds = started.elapsed().as_secs_f64();
                self.changes()?;
                Answer::Edited { seconds }
            }
            Command::Look => Answer::State(self.state()?),
            Command::Read { names, field } => {
                let read = |name| Reading::of(&self.store, name, &field);
                Answer::Readings { readings: names.iter().map(read).collect::<Result<_>>()? }
            }
            Command::Audit => Answer::Audited(self.audit()?),
        })
    }

    /// Starts a node without peers: nothing is exchanged before it has one.
    fn listen(&mut self) -> Result<SocketAddr> {
        let mut config = Config::default();
        // As soon as something has come: the program waits for it.
        config.have_after = Duration::ZERO;
        let builder = Node::builder(self.store.clone()).listen("127.0.0.1:0").config(config);
        let node = self.runtime.block_on(builder.start())?;
        let address = node.local_addr().ok_or("a node that does not listen")?;
        self.node = Some(node);
        Ok(address)
    }

    fn node(&self) -> Result<&Node> {
        Ok(self.node.as_ref().ok_or("there is no node yet")?)
    }

    /// Waits until peers have everything that is here.
    fn is_at(&self, who: Ack, within: Duration) -> Result<bool> {
        Ok(self.runtime.block_on(self.node()?.wait_for(&self.store.version()?, who, within))?)
    }

    fn settle(&mut self, version: &VersionVector, links: usize) -> Result<Settled> {
        let started = now();
        if !self.runtime.block_on(self.node()?.wait_until_here(version, PATIENCE))? {
            return Err("what a peer has does not come".into());
        }
        let seconds = started.elapsed().as_secs_f64();
        self.look_until(|up, in_step| up == links && in_step)?;
        let sent = self.bytes_sent()?;
        let bytes_sent = sent - std::mem::replace(&mut self.sent_before, sent);
        let (records_changed, conflicts) = self.changes()?;
        Ok(Settled { bytes_sent, seconds, records_changed, conflicts })
    }

    /// Waits until the links are as they are to be, by how many are up, and whether all that are known are in step.
    fn look_until(&self, are: impl Fn(usize, bool) -> bool) -> Result<()> {
        let started = now();
        while started.elapsed() < PATIENCE {
            let status = self.runtime.block_on(self.node()?.status())?;
            let up = status.peers.iter().filter(|peer| peer.state == PeerState::Up).count();
            if are(up, status.is_in_step()) {
                return Ok(());
            }
            wait(LOOK_EVERY);
        }
        Err("the links are not as they are to be".into())
    }

    /// What the node has sent over the links that it has, in bytes.
    fn bytes_sent(&self) -> Result<u64> {
        let status = self.runtime.block_on(self.node()?.status())?;
        Ok(status.peers.iter().map(|peer| peer.bytes_out).sum())
    }

    /// How many records have changed since the last call, and those with a conflict. An application mostly has a thread for it.
    fn changes(&mut self) -> Result<(u64, Vec<Name>)> {
        let (mut changed, mut in_conflict) = (BTreeSet::new(), BTreeSet::new());
        while let Some(changes) = self.watch.wait(Duration::ZERO)? {
            match changes {
                Changes::Since { keys, .. } => {
                    for change in keys {
                        let (_catalogue, name): (String, Name) = change.key.decode()?;
                        if change.conflict {
                            in_conflict.insert(name.clone());
                        }
                        changed.insert(name);
                    }
                }
                // The first time, or too much at once to tell it by key.
                Changes::All { snapshot } => {
                    for entry in snapshot.scan(CATALOGUE) {
                        let (_catalogue, name): (String, Name) = entry?.key().decode()?;
                        changed.insert(name);
                    }
                }
            }
        }
        Ok((changed.len() as u64, in_conflict.into_iter().collect()))
    }

    fn end(self) -> Result<()> {
        match self.node {
            Some(node) => Ok(self.runtime.block_on(node.shutdown())?),
            None => Ok(()),
        }
    }

    fn state(&self) -> Result<State> {
        let status = self.store.status()?;
        let mut records = 0;
        for entry in self.store.scan(CATALOGUE) {
            entry?;
            records += 1;
        }
        Ok(State {
            records,
            rows: status.rows,
            kept_beside: status.entries - status.rows,
            deletes: status.deletes,
            version: status.version,
            digest: status.digest.to_string(),
        })
    }

    fn audit(&self) -> Result<Audit> {
        let started = now();
        self.store.check().map_err(|error| format!("the check of the store failed: {}", in_full(&error)))?;
        let check_seconds = started.elapsed().as_secs_f64();
        let whole_state = self.store.canonical()?.into_bytes();
        Ok(Audit {
            check_seconds,
            whole_state_bytes: whole_state.len() as u64,
            whole_state_hash: format!("{:032x}", XxHash3_128::oneshot(&whole_state)),
            file_bytes: fs::metadata(self.file)?.len(),
            peak_memory_bytes: peak_memory_bytes(),
        })
    }
}

/// The most memory that this process has had; `None` where the system does not tell.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

//! One replica: a process with a durable store, which does what it is told.
//!
//! What a reader learns: what an application does with a [`Store`] from its opening to its end, and what the library tells
//! about it: versions, digests, counts, conflicts.

use std::io::{BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::exit;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{fs, io};

use tombolo::Store;
use tombolo::kv::RowPath;
use twox_hash::XxHash3_128;

use crate::catalogue::{CATALOGUE, Name, Source};
use crate::control::{Answer, Audit, Command, Exchanged, State, spawn_thread};
use crate::link::{self, Exchange, now};
use crate::load;
use crate::review::Reading;
use crate::{Result, in_full};

/// Serves the coordinator until it hangs up.
pub(crate) fn run(file: &Path) -> Result<()> {
    let commands = commands()?;
    let store = Store::open(file).map_err(|error| format!("cannot open {}: {}", file.display(), in_full(&error)));
    let mut replica = match store {
        Ok(store) => Replica { store, file, listener: None },
        Err(why) => return say(&Answer::Failed { why }),
    };
    for command in commands {
        let answer = replica.obey(command).unwrap_or_else(|error| Answer::Failed { why: in_full(&*error) });
        say(&answer)?;
    }
    Ok(())
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
    listener: Option<TcpListener>,
}

impl Replica<'_> {
    fn obey(&mut self, command: Command) -> Result<Answer> {
        let started = now();
        Ok(match command {
            Command::Load { data, key, review_every, made_up, text_field } => {
                let source = Source::open(&data, key.as_deref())?;
                let mut progress = |records| say(&Answer::Progress { records });
                let mut loaded = load::load(&self.store, &source, review_every, &mut progress)?;
                load::make_up(&self.store, &made_up, &text_field, &mut loaded)?;
                Answer::Loaded { loaded, seconds: started.elapsed().as_secs_f64() }
            }
            Command::Connect => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let address = listener.local_addr()?;
                self.listener = Some(listener);
                Answer::Listening { address }
            }
            Command::Cut => {
                self.listener = None;
                Answer::Cut
            }
            Command::Call { address } => match TcpStream::connect(address) {
                Ok(stream) => Answer::Exchanged(told(link::call(&self.store, stream)?)?),
                Err(error) => Answer::Unreachable { why: error.to_string() },
            },
            Command::TakeCall => {
                let listener = self.listener.as_ref().ok_or("the links are cut")?;
                Answer::Exchanged(told(link::take_call(&self.store, listener)?)?)
            }
            Command::Edit { edits } => {
                edits.iter().try_for_each(|edit| edit.apply(&self.store))?;
                Answer::Edited { seconds: started.elapsed().as_secs_f64() }
            }
            Command::Look => Answer::State(self.state()?),
            Command::Read { names, field } => {
                let read = |name| Reading::of(&self.store, name, &field);
                Answer::Readings { readings: names.iter().map(read).collect::<Result<_>>()? }
            }
            Command::Audit => Answer::Audited(self.audit()?),
        })
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

/// An exchange as the coordinator is told of it.
fn told(exchange: Exchange) -> Result<Exchanged> {
    let merged = exchange.merged;
    Ok(Exchanged {
        bytes_sent: exchange.bytes_sent,
        rows_sent: exchange.rows_sent,
        rows_changed: merged.rows,
        merge_seconds: exchange.merge_time.as_secs_f64(),
        version: merged.version,
        conflicts: merged.conflicts.iter().map(place).collect::<Result<_>>()?,
    })
}

/// The record and the field of a row.
fn place(path: &RowPath) -> Result<(Name, String)> {
    let (_catalogue, name): (String, Name) = path.key().decode()?;
    let fields = path.fields();
    let field = fields.last().ok_or("a record that is no map")?.decode()?;
    Ok((name, field))
}

/// The most memory that this process has had; `None` where the system does not tell.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

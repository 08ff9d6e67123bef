//! What comes of a question: the pieces of an answer, and what is learnt from it once it is whole.

use crate::causal::VersionVector;
use crate::replication::config::Moment;
use crate::replication::io::{Access, Event, Output, PeerId, Space};
use crate::replication::message::{Batch, ByeCode};
use crate::replication::replica::{Fault, Replica};
use crate::replication::spool::Spool;

use super::session::{Asking, Incoming};
use super::{Engine, Timer};

/// How often a store may find that an answer starts beyond what it has, before the peer is left for a while.
const BEHIND_MAX: u32 = 3;

impl<R: Replica> Engine<R> {
    /// A piece of an answer.
    pub(super) fn hear_batch(&mut self, from: PeerId, space: Space, batch: Batch) {
        let (bytes_max, memory) = (self.config.answer_bytes_max, self.config.answer_memory);
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.has_answered(now);
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        let Some(asking) = session.asking.as_mut().filter(|asking| (asking.first..=asking.pull).contains(&batch.pull)) else {
            return self.hear_late_answer(from, space, batch);
        };
        if asking.incoming.answer != Some(batch.answer) {
            if asking.incoming.answer.is_some() && batch.offset > 0 {
                return;
            }
            asking.incoming = Incoming::new(memory);
            asking.incoming.answer = Some(batch.answer);
        }
        let taken = match asking.incoming.take(batch) {
            Ok(taken) => taken,
            Err(error) => {
                self.answer_failed(from, space);
                return self.trouble(space, Fault::Refused(format!("a temporary file failed: {error}")));
            }
        };
        let is_too_long = asking.incoming.spool.len() > bytes_max;
        let is_whole = asking.incoming.end == Some(asking.incoming.spool.len());
        if is_too_long {
            return self.cut_off(from, ByeCode::TooMuch, format!("an answer of more than {bytes_max} bytes"));
        }
        if is_whole {
            self.answer_is_whole(from, space);
        } else if taken {
            self.wait_for_answer(from, space);
        }
    }

    /// An answer to a question that was given up, or that was asked before a restart, over a mailbox: what is whole is as good as any other.
    fn hear_late_answer(&mut self, from: PeerId, space: Space, batch: Batch) {
        let is_reader = self.peers.get(&from).is_none_or(|peer| peer.link.access == Access::Reader);
        let takes_nothing = self.stores.get(&space).is_none_or(|local| local.takes_nothing);
        if is_reader || takes_nothing || batch.offset > 0 || !batch.is_last || batch.bytes.is_empty() {
            return;
        }
        let mut incoming = Incoming::new(self.config.answer_memory);
        match incoming.take(batch) {
            Ok(_is_new) => self.merge_answer(from, space, incoming.spool),
            Err(error) => self.trouble(space, Fault::Refused(format!("a temporary file failed: {error}"))),
        }
    }

    fn answer_is_whole(&mut self, from: PeerId, space: Space) {
        self.timers.clear(&Timer::Answer(from, space));
        let Some(asking) = self.session(from, space).and_then(|session| session.asking.take()) else { return };
        self.is_asked_no_more(from, space);
        let is_nothing = asking.incoming.spool.is_empty();
        self.merge_answer(from, space, asking.incoming.spool);
        // It has no more than it was asked from. That may be more of this replica than it was given by it: it asks, and so tells.
        let is_explained = self.stores.get(&space).is_some_and(|local| local.summary.explains(&asking.base));
        if let Some(session) = self.session(from, space)
            && is_nothing
            && is_explained
        {
            session.is_compared = true;
        }
        if asking.all_points {
            self.has_told_why(from, space);
        }
    }

    /// A peer of the same version and with other contents has told what it knows. If it was that one of the two is a copy, the version is another one
    /// now.
    fn has_told_why(&mut self, from: PeerId, space: Space) {
        if !self.refresh(space) {
            return;
        }
        let Some(here) = self.stores.get(&space).map(|local| &local.summary) else { return };
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.sessions.get_mut(&space)) else { return };
        let is_still = |(version, state): &(u64, [u8; 16])| *version == here.version_digest && *state != here.state_digest;
        if let Some(theirs) = session.suspected.take().filter(is_still) {
            session.diverged = Some(theirs);
            self.ready.push_back(Output::Event(Event::Diverged { peer: from, space }));
        }
    }

    fn merge_answer(&mut self, from: PeerId, space: Space, mut spool: Spool) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        let joined = if spool.is_empty() { Ok(None) } else { local.replica.merge(&mut spool).map(Some) };
        drop(spool);
        local.is_stale = true;
        match joined {
            Ok(joined) => {
                if !self.refresh(space) {
                    return;
                }
                self.learn(from, space, joined.as_ref().map(|joined| &joined.sender));
                if joined.is_some_and(|joined| joined.changed) {
                    self.moved(space, Some(from));
                    self.try_waiting(space);
                }
            }
            Err(Fault::Behind) => {
                if let Some(session) = self.session(from, space) {
                    session.ask_by(Moment::default());
                    session.failures += 1;
                    if session.failures >= BEHIND_MAX {
                        self.back_off(from, space);
                    }
                }
            }
            Err(Fault::Malformed(why) | Fault::Invalid(why)) => self.cut_off(from, ByeCode::Malformed, why),
            Err(fault @ Fault::Refused(_)) => {
                local.takes_nothing = true;
                self.trouble(space, fault);
            }
            Err(fault @ Fault::Failed(_)) => self.trouble(space, fault),
        }
        self.repair_at(space, self.now);
    }

    /// A peer has given all that it has: `sender`, or nothing more than what is here.
    fn learn(&mut self, from: PeerId, space: Space, sender: Option<&VersionVector>) {
        self.may_go_live = true;
        let Some(local) = self.stores.get(&space) else { return };
        let here = &local.summary.version;
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.sessions.get_mut(&space)) else { return };
        // What it has said before and does not have counts no longer.
        session.theirs = match sender {
            Some(sender) => sender.clone(),
            None => session.theirs.iter().map(|(id, seq)| (id, seq.min(here.get(id)))).collect(),
        };
        session.sent.join(&session.theirs);
        session.differs = None;
        session.is_compared |= sender.is_some();
        session.ask_at = None;
        session.failures = 0;
    }

    /// A peer has said that it has nothing more. Unless it was asked why contents differ, its answer is not waited for.
    pub(super) fn expect_no_answer(&mut self, from: PeerId, space: Space) {
        let is_idle = |asking: &Asking| asking.incoming.spool.is_empty() && asking.incoming.early.is_empty();
        let Some(session) = self.session(from, space) else { return };
        if session.asking.take_if(|asking| is_idle(asking) && !asking.all_points).is_none() {
            return;
        }
        self.timers.clear(&Timer::Answer(from, space));
        self.is_asked_no_more(from, space);
        self.repair_at(space, self.now);
    }
}

impl Incoming {
    /// Early pieces that wait for those in front of them, in bytes.
    const EARLY_MAX: usize = 1 << 20;

    /// Takes a piece. Returns whether it is new.
    fn take(&mut self, batch: Batch) -> std::io::Result<bool> {
        use std::io::Write as _;
        let here = self.spool.len();
        let end = batch.offset.saturating_add(batch.bytes.len() as u64);
        if batch.is_last {
            self.end = Some(end);
        }
        if batch.offset > here {
            let bytes = self.early_bytes + batch.bytes.len();
            if bytes > Self::EARLY_MAX || self.early.contains_key(&batch.offset) {
                return Ok(false);
            }
            self.early_bytes = bytes;
            self.early.insert(batch.offset, batch.bytes);
            return Ok(true);
        }
        if end <= here {
            return Ok(false);
        }
        let skip = usize::try_from(here - batch.offset).unwrap_or(usize::MAX);
        self.spool.write_all(batch.bytes.get(skip..).unwrap_or_default())?;
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= self.spool.len()) {
            let (offset, bytes) = entry.remove_entry();
            self.early_bytes -= bytes.len();
            let skip = usize::try_from(self.spool.len() - offset).unwrap_or(usize::MAX);
            self.spool.write_all(bytes.get(skip..).unwrap_or_default())?;
        }
        Ok(true)
    }
}

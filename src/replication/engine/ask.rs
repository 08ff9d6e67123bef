//! What is missing here: who is asked for it, and what comes of that.
//!
//! One peer is asked at a time, for each store: an answer mostly has what others would send, too. Who does not answer is left for a
//! while, and another one asked. Where pieces of an answer were lost, and it takes its time, a second one is asked beside it: the first may be at the
//! other end of a bad link, and the second next door.

use std::sync::Arc;

use crate::causal::{ReplicaId, VersionVector};
use crate::replication::config::{Moment, around};
use crate::replication::io::{Access, Event, Output, PeerId, Space};
use crate::replication::message::{AnswerId, Batch, ByeCode, Live, Message, PagesOf, Pull};
use crate::replication::replica::{Compared, Fault, Replica};
use crate::replication::spool::Spool;

use super::session::{Asking, Incoming, Peer, Session};
use super::{Engine, PAUSE_MIN, Timer};

/// An answer that was cut short: the one who gave it may have kept the rest.
#[derive(Debug)]
pub(super) struct Partial {
    answer: AnswerId,
    incoming: Incoming,
    until: Moment,
}

/// How many peers a store asks at once, at most.
const ASKED_MAX: usize = 2;

/// How often a store may find that an answer starts beyond what it has, before the peer is left for a while.
const BEHIND_MAX: u32 = 3;

impl<R: Replica> Engine<R> {
    /// Asks somebody, if something is missing and nobody is expected to answer soon.
    pub(super) fn repair(&mut self, space: Space) {
        if !self.refresh(space) {
            return;
        }
        let now = self.now;
        let Some(local) = self.stores.get(&space).filter(|local| !local.takes_nothing && local.asked.is_none()) else { return };
        let here = &local.summary;
        let is_asking = |peer: &&Peer| peer.sessions.get(&space).is_some_and(|session| session.asking.is_some());
        if self.peers.values().filter(is_asking).count() >= ASKED_MAX {
            return;
        }
        let (mut candidates, mut soonest) = (Vec::new(), None::<Moment>);
        for (id, peer) in &mut self.peers {
            let is_idle = |session: &&mut Session| session.is_met && session.asking.is_none();
            let Some(session) = peer.sessions.get_mut(&space).filter(is_idle) else { continue };
            if session.differs == Some(here.version_digest) {
                session.differs = None;
            }
            let has_more = session.differs.is_some() || session.asks_for_points || !here.version.covers(&session.theirs);
            if peer.link.access == Access::Reader || !has_more {
                session.ask_at = None;
                continue;
            }
            // What was missing has come; what is missing now may be under way, too.
            let has_come = session.differs.is_none() && !session.asks_for_points && here.version.covers(&session.ask_for);
            if has_come && session.ask_at.is_some_and(|at| at <= now) {
                session.ask_at = None;
                session.ask_by(now + self.config.graft_after);
            }
            let Some(at) = session.ask_at.map(|at| at.max(session.not_before)) else { continue };
            if at <= now {
                candidates.push(*id);
            } else {
                soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
            }
        }
        if let Some(peer) = self.random.choice(candidates.iter()) {
            self.ask(*peer, space);
        } else if let Some(at) = soonest {
            self.repair_at(space, at);
        }
    }

    fn ask(&mut self, to: PeerId, space: Space) {
        let (now, memory) = (self.now, self.config.answer_memory);
        let Some(local) = self.stores.get_mut(&space) else { return };
        let Some(session) = self.peers.get_mut(&to).and_then(|peer| peer.sessions.get_mut(&space)) else { return };
        let all_points = std::mem::take(&mut session.asks_for_points);
        let partial =
            local.partial.take_if(|partial| partial.until <= now || !all_points).filter(|partial| partial.until > now);
        let resume = partial.as_ref().map(|partial| (partial.answer, partial.incoming.spool.len()));
        let incoming = partial.map_or_else(|| Incoming::new(memory), |partial| partial.incoming);
        local.asked = Some(to);
        local.next_pull += 1;
        let (first, had) = (local.next_pull, incoming.spool.len());
        // What has been missing for long and was only offered should come by itself from now on. What else is missing may be under way.
        let is_missing = |id: &ReplicaId| session.ask_for.get(*id) > local.summary.version.get(*id);
        let grafts: Vec<ReplicaId> = session.declined.keys().copied().filter(is_missing).collect();
        for id in &grafts {
            session.declined.remove(id);
        }
        let (base, live) = (local.summary.version.clone(), Live::Short);
        let pull = Pull { id: first, grafts, resume, base: base.clone(), live: live.clone(), all_points };
        session.asking = Some(Asking { first, pull: first, base, live, all_points, in_vain: 0, had, incoming });
        self.say(to, space, Message::Pull(pull));
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.is_asked(now);
        }
        self.wait_for_answer(to, space);
    }

    /// On an ordered link a pause means that the peer is busy; otherwise, that something was lost.
    fn wait_for_answer(&mut self, from: PeerId, space: Space) {
        let (most, least) = (self.config.answer_timeout, self.config.graft_after);
        let Some(peer) = self.peers.get(&from) else { return };
        let in_vain = peer.sessions.get(&space).and_then(|session| session.asking.as_ref()).map_or(0, |asking| asking.in_vain);
        let least = least.max(2 * peer.round_trip);
        let after = if peer.link.is_ordered { most } else { least.saturating_mul(1 << in_vain.min(10)).min(most) };
        self.timers.set(Timer::Answer(from, space), self.now + after.max(PAUSE_MIN));
    }

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

    /// An answer makes no progress: what was lost is asked for again, a few times.
    pub(super) fn answer_is_late(&mut self, from: PeerId, space: Space) {
        const IN_VAIN_MAX: u32 = 5;
        let is_ordered = self.peers.get(&from).is_none_or(|peer| peer.link.is_ordered);
        let Some(local) = self.stores.get_mut(&space) else { return };
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.sessions.get_mut(&space)) else { return };
        let Some(asking) = session.asking.as_mut() else { return };
        let here = asking.incoming.spool.len() + asking.incoming.early_bytes as u64;
        asking.in_vain = if here > asking.had { 0 } else { asking.in_vain + 1 };
        if is_ordered || asking.in_vain > IN_VAIN_MAX {
            return self.answer_failed(from, space);
        }
        local.next_pull += 1;
        (asking.pull, asking.had) = (local.next_pull, here);
        if matches!(asking.live, Live::Short) {
            asking.base.clone_from(&local.summary.version);
        }
        let pull = asking.pull();
        self.say(from, space, Message::Pull(pull));
        self.wait_for_answer(from, space);
        self.is_asked_no_more(from, space);
        self.repair_at(space, self.now);
    }

    /// Somebody else may be asked.
    fn is_asked_no_more(&mut self, peer: PeerId, space: Space) {
        if let Some(local) = self.stores.get_mut(&space)
            && local.asked == Some(peer)
        {
            local.asked = None;
        }
    }

    /// Deletes were forgotten that this side lacks, and much is live: the peer wants to know what is live here.
    pub(super) fn hear_pages(&mut self, from: PeerId, space: Space, of: &PagesOf) {
        let (now, page) = (self.now, self.config.live_page);
        let Some(local) = self.stores.get_mut(&space) else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.has_answered(now);
        let Some(asking) = peer.sessions.get_mut(&space).and_then(|session| session.asking.as_mut()) else { return };
        let is_of_this = (asking.first..=asking.pull).contains(&of.pull) && matches!(asking.live, Live::Short);
        if !is_of_this || asking.base.is_empty() {
            // Once for each request: comparing takes a look at every row.
            return;
        }
        match local.replica.compare(&of.pages, page) {
            Ok(Compared { base, pages }) => {
                local.next_pull += 1;
                asking.pull = local.next_pull;
                asking.in_vain = 0;
                asking.base = base;
                asking.live = pages.map_or(Live::Whole, |pages| Live::Pages(Arc::new(pages)));
                let pull = asking.pull();
                peer.is_asked(now);
                self.say(from, space, Message::Pull(pull));
                self.wait_for_answer(from, space);
            }
            Err(fault) => {
                self.answer_failed(from, space);
                self.trouble(space, fault);
            }
        }
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

    fn answer_failed(&mut self, from: PeerId, space: Space) {
        self.timers.clear(&Timer::Answer(from, space));
        let until = self.now + self.config.resume_within;
        let Some(session) = self.session(from, space) else { return };
        let Some(asking) = session.asking.take() else { return };
        session.asks_for_points |= asking.all_points;
        session.ask_by(Moment::default());
        session.failures += 1;
        self.back_off(from, space);
        self.is_asked_no_more(from, space);
        self.cut_short(space, asking.incoming, until);
        self.repair_at(space, self.now);
    }

    /// Keeps what has come, for a request that goes on with it.
    fn cut_short(&mut self, space: Space, incoming: Incoming, until: Moment) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        if let Some(answer) = incoming.answer.filter(|_any| !incoming.spool.is_empty()) {
            local.partial = Some(Partial { answer, incoming, until });
            self.timers.set(Timer::Forget(space), until);
        }
    }

    fn back_off(&mut self, from: PeerId, space: Space) {
        let most = self.config.retry_max;
        let failures = self.session(from, space).map_or(0, |session| session.failures);
        let pause = (most / 16).saturating_mul(1 << failures.saturating_sub(1).min(4)).min(most);
        let pause = around(pause, &mut self.random).max(PAUSE_MIN);
        let now = self.now;
        if let Some(session) = self.session(from, space) {
            session.not_before = now + pause;
        }
    }

    /// The link is gone: what was under way may go on over another one.
    pub(super) fn keep_what_was_cut_short(&mut self, space: Space, session: Session) {
        let until = self.now + self.config.resume_within;
        if let Some(asking) = session.asking {
            self.cut_short(space, asking.incoming, until);
        }
        if let Some(answering) = session.answering {
            self.keep_answer(space, answering, until);
        }
    }

    pub(super) fn forget_kept(&mut self, space: Space) {
        let now = self.now;
        let Some(local) = self.stores.get_mut(&space) else { return };
        local.partial = local.partial.take().filter(|partial| partial.until > now);
        let next = local.kept.iter().map(|kept| kept.until).chain(local.partial.as_ref().map(|partial| partial.until));
        let next = next.filter(|until| *until > now).min();
        local.kept.retain(|kept| kept.until > now);
        if let Some(next) = next {
            self.timers.set(Timer::Forget(space), next);
        }
    }

    /// The store has something new that was not pushed: others must ask for it.
    pub(super) fn moved(&mut self, space: Space, from: Option<PeerId>) {
        let (now, jitter) = (self.now, self.config.have_after / 8);
        let mut at = Vec::new();
        for (id, peer) in &mut self.peers {
            let Some(session) = peer.sessions.get_mut(&space) else { continue };
            let is_other = Some(*id) != from;
            session.is_to_pull |= is_other;
            at.push((*id, now + if is_other { jitter } else { self.config.have_after }));
        }
        for (peer, at) in at {
            self.timers.set_by(Timer::Have(peer, space), at);
        }
    }
}

impl Asking {
    /// The request, once more.
    fn pull(&self) -> Pull {
        let resume = self.incoming.answer.map(|answer| (answer, self.incoming.spool.len()));
        Pull {
            id: self.pull,
            grafts: Vec::new(),
            resume,
            base: self.base.clone(),
            live: self.live.clone(),
            all_points: self.all_points,
        }
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

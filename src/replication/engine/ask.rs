//! What is missing here: who is asked for it.
//!
//! One peer is asked at a time, for each store: an answer mostly has what others would send, too. Who does not answer is left for a
//! while, and another one asked. Where pieces of an answer were lost, and it takes its time, a second one is asked beside it: the
//! first may be at the other end of a bad link, and the second next door.

use std::sync::Arc;

use crate::causal::ReplicaId;
use crate::replication::config::Moment;
use crate::replication::io::{Access, PeerId, Space};
use crate::replication::message::{Live, Message, PagesOf, Pull};
use crate::replication::replica::{Compared, Replica};

use super::session::{Asking, Incoming, Peer, Session};
use super::{Engine, PAUSE_MIN, Timer};

/// How many peers a store asks at once, at most.
const ASKED_MAX: usize = 2;

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
    pub(super) fn wait_for_answer(&mut self, from: PeerId, space: Space) {
        let (most, least) = (self.config.answer_timeout, self.config.graft_after);
        let Some(peer) = self.peers.get(&from) else { return };
        let in_vain = peer.sessions.get(&space).and_then(|session| session.asking.as_ref()).map_or(0, |asking| asking.in_vain);
        let least = least.max(2 * peer.round_trip);
        let after = if peer.link.is_ordered { most } else { least.saturating_mul(1 << in_vain.min(10)).min(most) };
        self.timers.set(Timer::Answer(from, space), self.now + after.max(PAUSE_MIN));
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

    /// Somebody else may be asked.
    pub(super) fn is_asked_no_more(&mut self, peer: PeerId, space: Space) {
        if let Some(local) = self.stores.get_mut(&space)
            && local.asked == Some(peer)
        {
            local.asked = None;
        }
    }
}

impl Asking {
    /// The request, once more.
    pub(super) fn pull(&self) -> Pull {
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

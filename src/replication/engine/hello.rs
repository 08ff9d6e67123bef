//! How peers stand: at first, now and then, and again where they differ.
//!
//! ```text
//! up ──▶ HELLO ──▶ same version, same contents     in step
//!                  same version, not given away    this side is a copy: it takes a new id
//!                  same version, other contents    ask for all points of each history, by which the store finds out why; and say so, if the other one did
//!                                                  not turn out to be a copy
//!                  another version                 ask; or, while pushes are under way, say what is here: who lacks it waits for it a while
//! ```

use std::time::Duration;

use crate::causal::VersionVector;
use crate::replication::config::{Moment, around};
use crate::replication::io::{Access, Event, Output, PeerId, Space};
use crate::replication::message::{Hello, Message};
use crate::replication::mutant::{self, Mutant};
use crate::replication::replica::Replica;

use super::session::Session;
use super::{Engine, PAUSE_MIN, Timer};

/// The first HELLO is said again after this long if nothing comes back.
const GREET_AGAIN: Duration = Duration::from_secs(1);

impl<R: Replica> Engine<R> {
    /// The first word to a peer.
    pub(super) fn greet(&mut self, peer: PeerId, space: Space) {
        let now = self.now;
        let Some(link) = self.peers.get_mut(&peer) else { return };
        link.sessions.insert(space, Session::new(now));
        self.say_hello(peer, space, false);
        let again = now + around(GREET_AGAIN, &mut self.random);
        self.timers.set(Timer::Exchange(peer, space), again);
    }

    /// It is time to compare, or to see whether the peer is still there.
    pub(super) fn exchange(&mut self, peer: PeerId, space: Space) {
        self.say_hello(peer, space, true);
        self.exchange_later(peer, space);
    }

    fn exchange_later(&mut self, peer: PeerId, space: Space) {
        let after = around(self.config.exchange_every, &mut self.random).max(PAUSE_MIN);
        self.timers.set(Timer::Exchange(peer, space), self.now + after);
    }

    fn say_hello(&mut self, peer: PeerId, space: Space, is_question: bool) {
        if !self.refresh(space) {
            return;
        }
        let Some(local) = self.stores.get(&space) else { return };
        let Some(link) = self.peers.get_mut(&peer) else { return };
        let is_reader = link.link.access == Access::Reader;
        if is_question {
            link.is_asked(self.now);
        }
        let hello = Hello {
            replica: local.summary.replica,
            is_question,
            takes_nothing: local.takes_nothing || is_reader,
            version_digest: local.summary.version_digest,
            state_digest: local.summary.state_digest,
        };
        self.say(peer, space, Message::Hello(hello));
    }

    pub(super) fn hear_hello(&mut self, from: PeerId, space: Space, hello: &Hello) {
        if !self.refresh(space) {
            return;
        }
        if hello.is_question {
            self.say_hello(from, space, false);
        } else {
            self.has_answered_hello(from, space);
        }
        self.exchange_later(from, space);
        self.may_go_live = true;
        let Some(local) = self.stores.get(&space) else { return };
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.sessions.get_mut(&space)) else { return };
        let is_first = !session.is_met;
        session.is_met = true;
        session.replica = hello.replica;
        session.takes_nothing = hello.takes_nothing;
        if is_first {
            self.ready.push_back(Output::Event(Event::Met { peer: from, space, replica: hello.replica }));
        }
        if hello.version_digest == local.summary.version_digest {
            return self.compare_contents(from, space, hello);
        }
        session.is_in_step = false;
        if mutant::is(Mutant::HelloComparedOnce) && !is_first {
            return;
        }
        session.differs = Some(hello.version_digest);
        let is_busy = session.last_push.is_some_and(|last| last + self.config.graft_after > self.now);
        if is_busy {
            // What is under way explains it, or hides what is lost: only versions tell. The peer, who is asked the same, tells its own.
            session.differs = None;
            session.told = VersionVector::new();
            self.have_later(from, space);
        } else {
            session.ask_by(self.now);
            self.repair_at(space, self.now);
        }
    }

    /// A peer has the same version: it must have the same contents.
    fn compare_contents(&mut self, from: PeerId, space: Space, hello: &Hello) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        if !local.summary.explains(&local.summary.version) {
            // And what this side has never given away, too, be it the same or not: this is a copy. With a new id it has another version.
            if let Err(fault) = local.replica.hear_of(&local.summary.version) {
                return self.trouble(space, fault);
            }
            local.is_stale = true;
            if self.refresh(space) {
                self.moved(space, None);
                self.say_hello(from, space, true);
            }
            return;
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        session.has_all(&local.summary.version);
        session.told.join(&local.summary.version);
        session.differs = None;
        session.answering = None;
        let theirs = (hello.version_digest, hello.state_digest);
        if hello.state_digest == local.summary.state_digest {
            session.is_compared = true;
            if !session.is_in_step {
                session.is_in_step = true;
                self.ready.push_back(Output::Event(Event::InStep { peer: from, space }));
            }
            return;
        }
        session.is_in_step = false;
        if session.diverged == Some(theirs) || session.suspected == Some(theirs) {
            return;
        }
        if local.takes_nothing || peer.link.access == Access::Reader {
            // It is not asked for anything, nor why.
            session.diverged = Some(theirs);
            self.ready.push_back(Output::Event(Event::Diverged { peer: from, space }));
            return;
        }
        session.suspected = Some(theirs);
        session.asks_for_points = true;
        session.ask_by(self.now);
        self.repair_at(space, self.now);
    }

    /// The link works, both ways. Who did not answer before, and was left for a while, may be asked again.
    fn has_answered_hello(&mut self, from: PeerId, space: Space) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.has_answered(now);
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        if session.not_before > now {
            session.not_before = now;
            self.repair_at(space, now);
        }
    }

    pub(super) fn repair_at(&mut self, space: Space, at: Moment) {
        self.timers.set_by(Timer::Repair(space), at);
    }
}

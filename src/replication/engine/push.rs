//! Transactions on their way: out to those who lack them, in from those who have them, and on.

use std::sync::Arc;
use std::time::Duration;

use crate::causal::{Transaction, VersionVector};
use crate::replication::io::{Access, PeerId, Space};
use crate::replication::message::{ByeCode, Have, Message, Push};
use crate::replication::replica::{Applied, Fault, Replica};

use super::have::DECLINED_MAX;
use super::waiting::Early;
use super::{Engine, Local, Timer};

/// Of how many transactions it is remembered who sent them first.
const FIRST_MAX: usize = 4_096;

impl<R: Replica> Local<R> {
    /// Whether a transaction was pushed here before, or made here.
    fn has_come(&self, transaction: &Transaction) -> bool {
        let key = (transaction.origin(), transaction.hi());
        self.first_from.contains_key(&key) || self.summary.replica == Some(transaction.origin())
    }

    /// A transaction came, for the first time.
    fn note_first(&mut self, transaction: &Transaction, from: PeerId) {
        let key = (transaction.origin(), transaction.hi());
        if self.first_from.insert(key, from).is_none() {
            self.first_order.push_back(key);
        }
        if self.first_order.len() > FIRST_MAX
            && let Some(oldest) = self.first_order.pop_front()
        {
            self.first_from.remove(&oldest);
        }
    }
}

impl<R: Replica> Engine<R> {
    /// The store has something new.
    pub(super) fn changed(&mut self, space: Space) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        let news = match local.replica.news() {
            Ok(news) => news,
            Err(fault) => return self.trouble(space, fault),
        };
        for transaction in news.transactions {
            let Some(local) = self.stores.get_mut(&space) else { return };
            local.is_stale = true;
            local.summary.version.advance(transaction.origin(), transaction.hi());
            self.forward(space, &Arc::new(transaction), None, false);
        }
        if news.moved {
            let Some(local) = self.stores.get_mut(&space) else { return };
            let before = local.summary.version.clone();
            local.is_stale = true;
            if self.refresh(space) && self.version(space) != Some(&before) {
                self.moved(space, None);
                self.try_waiting(space);
            }
        }
    }

    /// Passes a transaction on, to everybody who lacks it and from whom it did not come.
    ///
    /// `is_early`: it is not in yet. Those who have everything of its origin before it get it all the same: on its way it waits for nothing
    /// that comes another way.
    fn forward(&mut self, space: Space, transaction: &Arc<Transaction>, from: Option<PeerId>, is_early: bool) {
        let now = self.now;
        let (origin, hi, weight) = (transaction.origin(), transaction.hi(), transaction.weight());
        let mut timers = Vec::new();
        for (id, peer) in &mut self.peers {
            let Some(session) = peer.sessions.get_mut(&space).filter(|session| session.is_met) else { continue };
            if session.takes_nothing || Some(*id) == from || session.sent.get(origin) >= hi {
                continue;
            }
            if !session.is_compared {
                timers.push((Timer::Have(*id, space), self.config.have_after));
                continue;
            }
            let does_not_fit = weight > self.config.push_bytes_max || session.push_bytes + weight > self.config.queue_bytes;
            let is_out_of_turn = session.sent.get(origin) + 1 < transaction.lo();
            if is_early && (does_not_fit || is_out_of_turn || session.unwanted.contains(&origin)) {
                continue;
            }
            if does_not_fit {
                // Whatever waited is not sent, and so not known: the peer asks.
                session.pushes.clear();
                session.push_bytes = 0;
                session.sent.clone_from(&session.theirs);
                session.told = VersionVector::new();
                session.is_to_pull = true;
                timers.push((Timer::Have(*id, space), Duration::ZERO));
                continue;
            }
            if session.unwanted.contains(&origin) {
                timers.push((Timer::Have(*id, space), self.config.have_after));
                continue;
            }
            session.sent.advance(origin, hi);
            if !is_early {
                session.told.advance(origin, hi);
            }
            session.last_push = Some(now);
            if session.pushes.is_empty() && !self.config.push_window.is_zero() {
                session.push_at = Some(now + self.config.push_window);
                timers.push((Timer::Push(*id, space), self.config.push_window));
            }
            session.push_bytes += weight;
            session.pushes.push_back(Push { transaction: Arc::clone(transaction), is_early });
        }
        for (timer, after) in timers {
            self.timers.set_by(timer, now + after);
        }
    }

    pub(super) fn hear_push(&mut self, from: PeerId, space: Space, push: Push) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.received.transactions += 1;
        let is_reader = peer.link.access == Access::Reader;
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        let Some(local) = self.stores.get(&space) else { return };
        if is_reader || local.takes_nothing {
            return;
        }
        session.last_push = Some(now);
        let Push { transaction, is_early } = push;
        if !is_early {
            session.has(transaction.origin(), transaction.hi());
            for (id, seq) in transaction.deps() {
                session.has(id, seq);
            }
        }
        self.apply(space, Early { transaction, from });
    }

    /// Applies a transaction, and those that have waited for it.
    fn apply(&mut self, space: Space, first: Early) {
        let mut next = vec![first];
        while let Some(early) = next.pop() {
            let Some(local) = self.stores.get_mut(&space) else { return };
            let Early { transaction, from } = early;
            match local.replica.apply(&transaction) {
                Ok(Applied::Merged) => {
                    let (origin, hi) = (transaction.origin(), transaction.hi());
                    local.is_stale = true;
                    local.summary.version.advance(origin, hi);
                    local.note_first(&transaction, from);
                    next.extend(local.waiting.take(origin, hi));
                    self.forward(space, &transaction, Some(from), false);
                    self.have_later(from, space);
                }
                // An answer brought it. Others wait for it to be passed on all the same.
                Ok(Applied::Covered) if !local.has_come(&transaction) => {
                    local.note_first(&transaction, from);
                    self.forward(space, &transaction, Some(from), false);
                    self.have_later(from, space);
                }
                Ok(Applied::Covered) => self.hear_again(from, space, &transaction),
                Ok(Applied::Waits { need }) => {
                    let (bytes_max, after) = (self.config.waiting_bytes, self.config.graft_after);
                    let Local { waiting, summary, .. } = local;
                    let early = Early { transaction: Arc::clone(&transaction), from };
                    let is_new = waiting.insert(early, &need, &summary.version, bytes_max);
                    let at = self.now + after;
                    if let Some(session) = self.session(from, space) {
                        session.ask_by(at);
                    }
                    self.repair_at(space, at);
                    if is_new {
                        self.forward(space, &transaction, Some(from), true);
                    }
                }
                Err(Fault::Malformed(why)) => self.cut_off(from, ByeCode::Malformed, why),
                // Whoever passed it on could not see it either.
                Err(Fault::Invalid(_) | Fault::Behind) => {}
                Err(fault @ Fault::Refused(_)) => {
                    local.takes_nothing = true;
                    self.trouble(space, fault);
                }
                Err(fault @ Fault::Failed(_)) => return self.trouble(space, fault),
            }
        }
    }

    /// A transaction that is in already: if another peer brought it first, and goes on doing so, this link need not carry those of its
    /// origin.
    fn hear_again(&mut self, from: PeerId, space: Space, transaction: &Transaction) {
        let origin = transaction.origin();
        let Some(local) = self.stores.get(&space) else { return };
        let is_own = local.summary.replica == Some(origin);
        let first = local.first_from.get(&(origin, transaction.hi())).copied().filter(|first| *first != from);
        let goes_on = |first: PeerId| {
            let session = self.peers.get(&first).and_then(|peer| peer.sessions.get(&space));
            session.is_some_and(|session| !session.declined.contains_key(&origin))
        };
        let comes_otherwise = is_own || first.is_some_and(goes_on);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.received.repeated += 1;
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        // Those that were under way when it was declined come all the same.
        let is_settled = session.declined.get(&origin).is_none_or(|at| *at + self.config.graft_after <= self.now);
        if comes_otherwise && is_settled && session.declined.len() < DECLINED_MAX {
            session.declined.insert(origin, self.now);
            self.say(from, space, Message::Have(Have { declines: vec![origin], ..Have::default() }));
        }
        self.have_later(from, space);
    }

    /// Something has come otherwise: transactions may have waited for it.
    pub(super) fn try_waiting(&mut self, space: Space) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        if local.waiting.is_empty() {
            return;
        }
        for early in local.waiting.take_all(&local.summary.version) {
            self.apply(space, early);
        }
    }
}

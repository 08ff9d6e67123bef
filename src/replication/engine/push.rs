//! Transactions on their way: out to those who lack them, in from those who have them, and on.

use std::sync::Arc;
use std::time::Duration;

use crate::causal::Transaction;
use crate::replication::io::{Access, PeerId, Space};
use crate::replication::message::{ByeCode, Have, Message};
use crate::replication::replica::{Applied, Fault, Replica};

use super::waiting::Early;
use super::{Engine, Local, Timer};

/// Of how many transactions it is remembered who sent them first.
const FIRST_MAX: usize = 4_096;

impl<R> Local<R> {
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
            self.forward(space, &Arc::new(transaction), None);
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
    fn forward(&mut self, space: Space, transaction: &Arc<Transaction>, from: Option<PeerId>) {
        let now = self.now;
        let (origin, hi, weight) = (transaction.origin(), transaction.hi(), transaction.weight());
        let mut timers = Vec::new();
        for (id, peer) in &mut self.peers {
            let Some(session) = peer.sessions.get_mut(&space).filter(|session| session.is_met) else { continue };
            if session.takes_nothing || Some(*id) == from || session.sent.get(origin) >= hi {
                continue;
            }
            if weight > self.config.push_bytes_max || session.push_bytes + weight > self.config.queue_bytes {
                // Whatever waited is not sent, and so not known: the peer asks.
                session.pushes.clear();
                session.push_bytes = 0;
                session.sent.clone_from(&session.theirs);
                session.is_to_pull = true;
                timers.push((Timer::Have(*id, space), Duration::ZERO));
                continue;
            }
            if !session.is_eager {
                timers.push((Timer::Have(*id, space), self.config.have_after));
                continue;
            }
            session.sent.advance(origin, hi);
            session.told.advance(origin, hi);
            session.last_push = Some(now);
            if session.pushes.is_empty() && !self.config.push_window.is_zero() {
                session.push_at = Some(now + self.config.push_window);
                timers.push((Timer::Push(*id, space), self.config.push_window));
            }
            session.push_bytes += weight;
            session.pushes.push_back(Arc::clone(transaction));
        }
        for (timer, after) in timers {
            self.timers.set_by(timer, now + after);
        }
    }

    pub(super) fn hear_push(&mut self, from: PeerId, space: Space, transaction: Arc<Transaction>) {
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
        session.has(transaction.origin(), transaction.hi());
        for (id, seq) in transaction.deps() {
            session.has(id, seq);
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
                    self.forward(space, &transaction, Some(from));
                    self.have_later(from, space);
                }
                Ok(Applied::Covered) => self.hear_again(from, space, &transaction),
                Ok(Applied::Waits { need }) => {
                    let (bytes_max, after) = (self.config.waiting_bytes, self.config.graft_after);
                    let Local { waiting, summary, .. } = local;
                    waiting.insert(Early { transaction, from }, &need, &summary.version, bytes_max);
                    let at = self.now + after;
                    if let Some(session) = self.session(from, space) {
                        session.ask_by(at);
                    }
                    self.repair_at(space, at);
                }
                Err(Fault::Malformed(why)) => self.cut_off(from, ByeCode::Malformed, why),
                // It waits for what this store had when it was another replica.
                Err(Fault::Behind) => {}
                Err(fault @ Fault::Refused(_)) => {
                    local.takes_nothing = true;
                    self.trouble(space, fault);
                }
                Err(fault @ Fault::Failed(_)) => return self.trouble(space, fault),
            }
        }
    }

    /// A transaction that is in already: if another peer pushed it first, this link need not be pushed along.
    fn hear_again(&mut self, from: PeerId, space: Space, transaction: &Transaction) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.received.repeated += 1;
        let Some(local) = self.stores.get(&space) else { return };
        let first = local.first_from.get(&(transaction.origin(), transaction.hi()));
        let is_own = local.summary.replica == Some(transaction.origin());
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        if session.is_eager && (is_own || first.is_some_and(|first| *first != from)) {
            session.is_eager = false;
            self.say(from, space, Message::Have(Have { is_prune: true, ..Have::default() }));
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

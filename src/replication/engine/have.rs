//! Telling peers what is here, and hearing what is there.

use crate::causal::ReplicaId;
use crate::replication::config::around;
use crate::replication::io::{Access, PeerId, Space};
use crate::replication::message::{ByeCode, Have};
use crate::replication::replica::Replica;

use super::{Engine, Timer, session};

/// Of how many replicas a peer may decline what is pushed. The memory for them is bounded.
pub(super) const DECLINED_MAX: usize = 1 << 16;

/// Of how many replicas a peer may say what it has. The memory for them is bounded.
const REPLICAS_MAX: usize = 1 << 20;

impl<R: Replica> Engine<R> {
    /// A peer is told what is here, together with what comes until then.
    pub(super) fn have_later(&mut self, peer: PeerId, space: Space) {
        self.timers.set_by(Timer::Have(peer, space), self.now + self.config.have_after);
    }

    /// What a peer does not know that this side has; `None`: it knows all.
    pub(super) fn have_for(&mut self, peer: PeerId, space: Space) -> Option<Have> {
        let local = self.stores.get(&space)?;
        let session = self.peers.get_mut(&peer)?.sessions.get_mut(&space)?;
        session.owes_have = false;
        let here = &local.summary.version;
        let seqs: Vec<(ReplicaId, u64)> = here.iter().filter(|(id, seq)| session.told.get(*id) < *seq).collect();
        if seqs.is_empty() {
            return None;
        }
        session.told.join(here);
        // Only if there is something that it lacks.
        let is_to_be_pulled = std::mem::take(&mut session.is_to_pull) && !session.sent.covers(here);
        Some(Have { is_to_be_pulled, seqs, ..Have::default() })
    }

    pub(super) fn hear_have(&mut self, from: PeerId, space: Space, have: &Have) {
        let (now, graft_after) = (self.now, self.config.graft_after);
        let soon = around(self.config.have_after, &mut self.random);
        let Some(local) = self.stores.get(&space) else { return };
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let is_reader = peer.link.access == Access::Reader;
        let Some(session) = peer.sessions.get_mut(&space) else { return };
        if have.accepts_all {
            session.unwanted.clear();
        }
        for id in &have.declines {
            if session.unwanted.len() < DECLINED_MAX {
                session.unwanted.insert(*id);
            }
        }
        for (id, seq) in &have.seqs {
            session.has(*id, *seq);
        }
        let has_all = |answering: &session::Answering| session.theirs.covers(&answering.version);
        if session.answering.as_ref().is_some_and(has_all) {
            session.answering = None;
        }
        if session.theirs.len() > REPLICAS_MAX {
            return self.cut_off(from, ByeCode::TooMuch, format!("a version of more than {REPLICAS_MAX} replicas"));
        }
        if !is_reader && !local.summary.version.covers(&session.theirs) {
            let at = now + if have.is_to_be_pulled { soon } else { graft_after };
            session.ask_by(at);
            self.repair_at(space, at);
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

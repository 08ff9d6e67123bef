//! What the engine tells of its peers.

use super::Engine;
use super::session::Peer;
use crate::causal::VersionVector;
use crate::replication::{PeerId, PeerStatus, Space};

impl<R> Engine<R> {
    /// How each peer stands with each store.
    pub fn status(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        self.peers.iter().flat_map(|(id, peer)| {
            peer.sessions.iter().map(|(space, session)| {
                let here = self.stores.get(space).map(|local| &local.summary.version);
                PeerStatus {
                    peer: *id,
                    space: *space,
                    is_met: session.is_met,
                    replica: session.replica,
                    declines: session.unwanted.len(),
                    lacks: here.map_or(0, |here| missing(&session.theirs, here)),
                    is_ahead: here.map_or(0, |here| missing(here, &session.theirs)),
                    last_heard: peer.last_heard,
                    sent: peer.sent,
                    received: peer.received,
                }
            })
        })
    }

    /// Which peers are known to have everything up to a version.
    pub fn peers_with(&self, space: Space, version: &VersionVector) -> Vec<PeerId> {
        let has = |peer: &Peer| peer.sessions.get(&space).is_some_and(|session| session.theirs.covers(version));
        self.peers.iter().filter(|(_id, peer)| has(peer)).map(|(id, _peer)| *id).collect()
    }

    /// The version of a store, as far as it was told of.
    #[must_use]
    pub fn version(&self, space: Space) -> Option<&VersionVector> {
        self.stores.get(&space).map(|local| &local.summary.version)
    }
}

/// How many events of `of` are not in `version`.
fn missing(version: &VersionVector, of: &VersionVector) -> u64 {
    of.iter().map(|(id, seq)| seq.saturating_sub(version.get(id))).fold(0, u64::saturating_add)
}

//! How a node stands.

use std::time::Duration;

use crate::causal::ReplicaId;
use crate::kv::SpaceId;
use crate::replication::Access;
use crate::transport::PeerName;

/// How a node stands, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The stores that it keeps in step.
    pub stores: Vec<StoreStatus>,
    /// The peers that are dialled, and those that are up. Sorted by transport and name.
    pub peers: Vec<PeerStatus>,
}

impl NodeStatus {
    /// Whether every peer that is dialled or up has met a store of this node, and none is known to lack anything, here or there.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.peers.iter().all(|peer| {
            let mut met = peer.spaces.iter().filter(|space| space.is_met).peekable();
            met.peek().is_some() && met.all(|space| space.lacks == 0 && space.is_ahead == 0)
        })
    }
}

/// A store that is kept in step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Its space.
    pub space: SpaceId,
    /// Whether it has failed, so that nothing is exchanged for it any more.
    pub has_failed: bool,
    /// What it said last when it did not do what it was asked for.
    pub last_error: Option<String>,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// As the transport calls it: of TCP, the address.
    pub name: PeerName,
    /// Whether there is a link to it.
    pub state: PeerState,
    /// Whether it is dialled, or has come by itself.
    pub is_dialled: bool,
    /// What is exchanged with it.
    pub access: Access,
    /// How long ago something came from it.
    pub last_contact: Option<Duration>,
    /// Bytes of frames that were given out for it, since the node knows it.
    pub bytes_out: u64,
    /// Bytes of frames that came from it.
    pub bytes_in: u64,
    /// Why the link was lost, or not found, last.
    pub last_error: Option<String>,
    /// How it stands with each store. Empty if it is not up.
    pub spaces: Vec<SpaceStatus>,
}

/// Whether there is a link to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// None yet.
    Connecting,
    /// There is one.
    Up,
    /// There was one, or it was tried in vain: it is tried again.
    Down,
}

/// How a peer stands with one store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceStatus {
    /// Which space.
    pub space: SpaceId,
    /// Whether the peer keeps it, as far as is known.
    pub is_met: bool,
    /// Its replica, once it has said so.
    pub replica: Option<ReplicaId>,
    /// Of how many replicas it gets transactions another way first, and is only told what there is.
    pub declines: usize,
    /// How many events it lacks of ours, as far as is known.
    pub lacks: u64,
    /// How many events it has that are not here, as far as is known.
    pub is_ahead: u64,
}

//! What people may want to know, as it happens.

use tokio::sync::broadcast;

use crate::causal::ReplicaId;
use crate::kv::SpaceId;
use crate::replication::{ByeCode, Fault};
use crate::transport::PeerName;

/// How many events are kept for a receiver that is behind.
pub(super) const EVENTS_KEPT: usize = 1024;

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// There is a link to a peer.
    Up {
        /// Who.
        peer: PeerName,
    },
    /// The link to a peer is gone.
    Down {
        /// Who.
        peer: PeerName,
        /// Why.
        why: String,
    },
    /// A peer was not reached, or one that came was refused. Peers that are dialled are tried again.
    Unreachable {
        /// Who, or the address.
        peer: PeerName,
        /// Why.
        why: String,
    },
    /// A peer keeps a space, too.
    Met {
        /// Who.
        peer: PeerName,
        /// Which space.
        space: SpaceId,
        /// The replica; `None`: it has not written yet.
        replica: Option<ReplicaId>,
    },
    /// A peer has exactly what this node has.
    InStep {
        /// Who.
        peer: PeerName,
        /// Which space.
        space: SpaceId,
    },
    /// A peer has the same version and other contents: a fork, damage, or a bug.
    Diverged {
        /// Who.
        peer: PeerName,
        /// Which space.
        space: SpaceId,
    },
    /// A peer was cut off, since it is at fault.
    CutOff {
        /// Who.
        peer: PeerName,
        /// What kind of reason it was given.
        code: ByeCode,
        /// Why.
        why: String,
    },
    /// A peer has said goodbye.
    Left {
        /// Who.
        peer: PeerName,
        /// Which space.
        space: SpaceId,
        /// What kind of reason it gave.
        code: ByeCode,
        /// Why.
        why: String,
    },
    /// A store did not do what it was asked for. If it failed, nothing is exchanged for it any more.
    Trouble {
        /// Which one.
        space: SpaceId,
        /// What it says.
        fault: Fault,
    },
    /// A transport has ended before the node did. Its peers are gone; the others are not.
    TransportEnded {
        /// Why.
        why: String,
    },
    /// The receiver was behind: so many events before the next one were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Receives what happens. From [`Node::events`](super::Node::events).
#[derive(Debug)]
pub struct Events {
    events: broadcast::Receiver<NodeEvent>,
}

impl Events {
    pub(super) const fn new(events: broadcast::Receiver<NodeEvent>) -> Self {
        Self { events }
    }

    /// The next event; `None`: the node has stopped, and there are no more. 1024 are kept for one that is behind. May be dropped and
    /// called again: nothing is lost.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(NodeEvent::Lagged { missed }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receiver_that_is_behind_is_told_how_far() {
        let (tell, told) = broadcast::channel(2);
        let mut events = Events::new(told);
        for _ in 0..5 {
            tell.send(NodeEvent::Up { peer: "a".into() }).unwrap();
        }
        drop(tell);
        assert_eq!(events.next().await, Some(NodeEvent::Lagged { missed: 3 }));
        assert!(events.next().await.is_some() && events.next().await.is_some());
        assert_eq!(events.next().await, None);
    }
}

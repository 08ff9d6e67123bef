//! Who waits until a version is somewhere.

use tokio::sync::oneshot;

use crate::causal::VersionVector;

/// Whose word is waited for. Known peers are those that are dialled, also while they are away, and those that are up and keep the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ack {
    /// So many peers.
    Peers(usize),
    /// More than half of all that are known: of this node, which counts as one that has it, and its known peers.
    Majority,
    /// Every known peer. If none is known, there is nothing to wait for.
    All,
}

impl Ack {
    /// Whether it is enough if so many peers have it, of so many that are known.
    pub(super) const fn is_met(self, have: usize, known: usize) -> bool {
        match self {
            Self::Peers(enough) => have >= enough,
            Self::Majority => 2 * (have + 1) > known + 1,
            Self::All => have >= known,
        }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    Peers(Ack),
    Here,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) version: VersionVector,
    pub(super) what: For,
    /// Closed once nobody waits any more.
    pub(super) tell: oneshot::Sender<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_counts_this_node() {
        let enough = |known| (0..).find(|have| Ack::Majority.is_met(*have, known)).unwrap();
        assert_eq!([0, 1, 2, 3, 4, 5].map(enough), [0, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn all_is_every_known_one() {
        assert!(Ack::All.is_met(3, 3) && !Ack::All.is_met(2, 3) && Ack::All.is_met(0, 0));
        assert!(Ack::Peers(2).is_met(2, 9) && !Ack::Peers(2).is_met(1, 1));
    }
}

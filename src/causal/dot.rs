//! One event.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::ReplicaId;

/// The highest sequence number. A claim above it is refused wherever it comes from, so that sequence arithmetic never
/// overflows: a replica that writes a million events a second reaches it in 292,000 years.
pub const SEQ_MAX: u64 = 1 << 63;

/// One event: the `seq`-th of `replica`. Assigned once, to one write or delete, and never again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who wrote.
    pub replica: ReplicaId,
    /// Which event of that replica, from 1.
    pub seq: u64,
}

impl Dot {
    /// The `seq`-th event of `replica`.
    #[must_use]
    pub const fn new(replica: ReplicaId, seq: u64) -> Self {
        Self { replica, seq }
    }

    /// Whether its number is one that an event can have: `1..=SEQ_MAX`. A dot can be made, or received, with any number;
    /// no set of events takes one that is not an event.
    #[must_use]
    pub const fn is_event(self) -> bool {
        1 <= self.seq && self.seq <= SEQ_MAX
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.seq, self.replica)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

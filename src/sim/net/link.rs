//! What links between nodes do to frames.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::laws::Rng;
use crate::replication::PeerId;

/// What a link does to what is sent over it, each way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Faults {
    /// How long a frame takes, in microseconds, besides its length.
    pub latency: RangeInclusive<u64>,
    /// Of 1,000 frames so many are lost. None on an ordered link.
    pub loss: u64,
    /// Of 1,000 frames so many come twice. None on an ordered link.
    pub repeats: u64,
    /// Frames come in order, each of them once, until the link breaks. Otherwise each takes its own time.
    pub is_ordered: bool,
    /// How many bytes a second it carries.
    pub bandwidth: u64,
    /// How many bytes may be under way.
    pub window: u64,
}

impl Faults {
    /// A good connection, as TCP makes one: 10 to 30 ms, in order.
    #[must_use]
    pub const fn connection() -> Self {
        Self { latency: 10_000..=30_000, loss: 0, repeats: 0, is_ordered: true, bandwidth: 10_000_000, window: 256 << 10 }
    }

    /// Datagrams over a bad network: 10 to 300 ms each, of 1,000 frames 50 are lost and 50 come twice.
    #[must_use]
    pub const fn datagrams() -> Self {
        Self { latency: 10_000..=300_000, loss: 50, repeats: 50, is_ordered: false, bandwidth: 10_000_000, window: 256 << 10 }
    }

    /// With another latency, in microseconds.
    #[must_use]
    pub const fn with_latency(mut self, latency: RangeInclusive<u64>) -> Self {
        self.latency = latency;
        self
    }
}

/// A link between two nodes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [usize; 2],
    pub(super) faults: Faults,
    /// What the ends call it now; `None`: it is down.
    pub(super) up: Option<PeerId>,
    /// Which directions are cut: from the first end, from the second.
    pub(super) cut: [bool; 2],
    /// When the last frame of each direction has left, and arrives.
    pub(super) leaves: [u64; 2],
    pub(super) arrives: [u64; 2],
}

/// When copies of a frame arrive, and when there is room for another one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) arrives: Vec<u64>,
    pub(super) has_left: u64,
}

impl Link {
    pub(super) const fn new(ends: [usize; 2], faults: Faults) -> Self {
        Self { ends, faults, up: None, cut: [false; 2], leaves: [0; 2], arrives: [0; 2] }
    }

    /// Which end a node is at.
    pub(super) fn side_of(&self, node: usize) -> usize {
        usize::from(self.ends.first() != Some(&node))
    }

    pub(super) fn node_at(&self, side: usize) -> usize {
        self.ends.get(side).copied().unwrap_or_default()
    }

    /// A frame is sent from one side.
    pub(super) fn send(&mut self, from: usize, now: u64, bytes: u64, rng: &mut Rng) -> Passage {
        let Faults { latency, loss, repeats, is_ordered, bandwidth, .. } = &self.faults;
        let takes = bytes.saturating_mul(1_000_000) / (*bandwidth).max(1);
        let [leaves, arrives] = [&mut self.leaves, &mut self.arrives].map(|times| times.get_mut(from).expect("two sides"));
        let has_left = now.max(*leaves) + takes;
        *leaves = has_left;
        let mut times = Vec::new();
        let copies = if *is_ordered {
            1
        } else if rng.below(1_000) < *loss {
            0
        } else {
            1 + usize::from(rng.below(1_000) < *repeats)
        };
        for _ in 0..copies {
            let on_its_way = latency.start() + rng.below(latency.end() - latency.start() + 1);
            let at = has_left + on_its_way;
            let at = if *is_ordered { at.max(*arrives) } else { at };
            *arrives = at.max(*arrives);
            times.push(at);
        }
        Passage { arrives: times, has_left }
    }
}

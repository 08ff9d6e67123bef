//! The only clock of the network.

use std::time::{Duration, Instant};

use crate::replication::Moment;

/// Counts from its making, and never back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is where the time of the network enters")]
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::default() + self.start.elapsed()
    }

    /// How long until a moment; nothing, if it is past.
    pub(super) fn until(&self, moment: Moment) -> Duration {
        moment.since(self.now())
    }
}

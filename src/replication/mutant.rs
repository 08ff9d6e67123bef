//! Deliberate errors of the protocol, for the test build alone: the simulator must fail on each.

/// An error of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// What was sent counts as received: an answer leaves it out.
    SentBelieved,
    /// How peers stand is compared when they meet, and never again.
    HelloComparedOnce,
}

/// Whether an error is switched on, on this thread.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is(_mutant: Mutant) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switch::{ALL, is, with};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    pub(crate) const ALL: [Mutant; 2] = [Mutant::SentBelieved, Mutant::HelloComparedOnce];

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }

    /// Runs `body` with an error, on this thread. A panic of `body` leaves it switched on.
    pub(crate) fn with<R>(mutant: Mutant, body: impl FnOnce() -> R) -> R {
        ACTIVE.set(Some(mutant));
        let result = body();
        ACTIVE.set(None);
        result
    }
}

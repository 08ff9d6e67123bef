//! Deliberate design errors, for the test build alone: the suite must fail on each. A suite that passes is no suite.

/// A design error. Each was seen to lose data or to bring deleted data back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A delete takes no event, so that version vectors do not see it.
    DeleteWithoutDot,
    /// Delete events of others are not kept, so that they are not passed on.
    DeletesNotRelayed,
    /// The fallback below the floor does not raise the receiver's floor.
    FloorNotRaised,
    /// A copy of a file keeps its id.
    RestoredIdKept,
    /// A rotation cannot go back to the counter rows that were given away.
    SentNotKept,
    /// What peers did to counter rows since they were given away is left out when a rotation goes back to them.
    SentNotJoined,
    /// A rotation does not write deletes again.
    ReplayOfDeletesLeftOut,
    /// Points of a history are compared only where both sides have one.
    PointsBetweenNotCompared,
    /// What is not durable yet leaves the file.
    EmittedBeforeFsync,
    /// Delete events are forgotten for space, and the floor stays.
    FloorNotRaisedByEviction,
    /// A batch has only the new entries of a row, not its complete image.
    PartialRows,
    /// A counter's delete is not addressed to the contributors.
    ResetsNotAddressed,
    /// A contributor drops the reset addressed to it and does not take it into account.
    ResetDroppedUnconsumed,
    /// A counter starts over whenever its sum happens to be zero.
    NewFrameAtNetZero,
    /// The fallback drops only what the receiver had at the time of the request.
    LiveRestrictedToBase,
    /// A store that is below the floor compares what was live at an earlier version, and says that it is of this one.
    #[cfg(test)]
    LiveFromStaleBase,
    /// A merge keeps only the entry of a register that is shown.
    LosersPrunedAtMerge,
    /// A merge keeps the entry with the highest id, whatever was seen.
    CausalityReplacedByIdOrder,
    /// A pushed transaction is applied without what it depends on.
    DependencyCheckLeftOut,
    /// A pushed transaction is applied without the one before it.
    GapIgnored,
    /// Of what has changed, the snapshot is not of the moment that the keys are of.
    MarkAfterRead,
    /// Watchers hear of a commit before readers see it.
    WatchOutsideCommitOrder,
}

/// Whether a design error is switched on, on this thread.
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

    /// Those that the oracle of histories sees. The others have tests where they are planted.
    pub(crate) const ALL: [Mutant; 13] = [
        Mutant::DeleteWithoutDot,
        Mutant::DeletesNotRelayed,
        Mutant::FloorNotRaised,
        Mutant::FloorNotRaisedByEviction,
        Mutant::PartialRows,
        Mutant::ResetsNotAddressed,
        Mutant::ResetDroppedUnconsumed,
        Mutant::NewFrameAtNetZero,
        Mutant::LiveRestrictedToBase,
        Mutant::LosersPrunedAtMerge,
        Mutant::CausalityReplacedByIdOrder,
        Mutant::DependencyCheckLeftOut,
        Mutant::GapIgnored,
    ];

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }

    /// Runs `body` with a design error, on this thread.
    pub(crate) fn with<R>(mutant: Mutant, body: impl FnOnce() -> R) -> R {
        struct Off;
        impl Drop for Off {
            fn drop(&mut self) {
                ACTIVE.set(None);
            }
        }
        ACTIVE.set(Some(mutant));
        let _off = Off;
        body()
    }
}

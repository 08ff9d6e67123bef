//! Two subjects through the same history: where they differ, one of them is wrong.

use core::fmt::Debug;

use super::op::Op;
use super::schema::CellId;
use super::subject::{Applied, Fault, Merged, Observed, Subject};
use crate::causal::{ReplicaId, VersionVector};

/// A subject that does everything with two others, and fails where they differ.
///
/// Compared are versions, results and reads. Stamps, and so winners, are not: a clock may follow more of what it sees than
/// another. The oracle sees the first one only. Digests and canonical bytes are compared if asked for.
///
/// ```
/// use std::sync::Arc;
/// use tombolo::sim::{Both, Naive, Runner, Schema};
///
/// let schema = Arc::new(Schema::every_kind());
/// let naive = |replica| Naive::new(replica, &schema);
/// Runner::new(&schema).histories(20).run(|replica| Both::new(naive(replica), naive(replica)).bytes()).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Both<A, B> {
    first: A,
    second: B,
    bytes: bool,
}

impl<A: Subject, B: Subject> Both<A, B> {
    /// Two replicas of the same id that have seen nothing.
    #[must_use]
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second, bytes: false }
    }

    /// Compares digests and canonical bytes too: for two that have the same form.
    #[must_use]
    pub const fn bytes(mut self) -> Self {
        self.bytes = true;
        self
    }
}

impl<A: Subject, B: Subject> Subject for Both<A, B> {
    type Seen = (A::Seen, B::Seen);
    type Batch = (A::Batch, B::Batch);
    type Pushed = (A::Pushed, B::Pushed);

    fn replica(&self) -> ReplicaId {
        self.first.replica()
    }

    fn set_clock(&mut self, now_ms: u64) {
        self.first.set_clock(now_ms);
        self.second.set_clock(now_ms);
    }

    fn version(&self) -> Result<VersionVector, Fault> {
        same("versions", self.first.version()?, &self.second.version()?)
    }

    fn transact(&mut self, ops: &[Op], hand: &[&Self::Seen]) -> Result<Option<Self::Pushed>, Fault> {
        let (firsts, seconds): (Vec<_>, Vec<_>) = hand.iter().map(|(first, second)| (first, second)).unzip();
        let pushed = (self.first.transact(ops, &firsts)?, self.second.transact(ops, &seconds)?);
        same("whether there is something to push", pushed.0.is_some(), &pushed.1.is_some())?;
        Ok(pushed.0.zip(pushed.1))
    }

    fn read(&self, cell: CellId) -> Result<Observed, Fault> {
        let observed = self.first.read(cell)?;
        same("reads", without_stamps(observed.clone()), &without_stamps(self.second.read(cell)?))?;
        Ok(observed)
    }

    fn read_to_set_over(&self, cell: CellId) -> Result<Self::Seen, Fault> {
        Ok((self.first.read_to_set_over(cell)?, self.second.read_to_set_over(cell)?))
    }

    fn delta_since(&mut self, base: &VersionVector) -> Result<Self::Batch, Fault> {
        Ok((self.first.delta_since(base)?, self.second.delta_since(base)?))
    }

    fn merge(&mut self, (first, second): &Self::Batch) -> Result<Merged, Fault> {
        let merged = (self.first.merge(first)?, self.second.merge(second)?);
        let changed = |merged| if let Merged::Applied { changed, .. } = merged { Some(changed) } else { None };
        same("merges", changed(merged.0), &changed(merged.1))?;
        let used_live = |merged| matches!(merged, Merged::Applied { used_live: true, .. });
        Ok(if used_live(merged.1) { merged.1 } else { merged.0 })
    }

    fn apply(&mut self, (first, second): &Self::Pushed) -> Result<Applied, Fault> {
        same("pushes", self.first.apply(first)?, &self.second.apply(second)?)
    }

    fn truncate(&mut self, below: &VersionVector) -> Result<(), Fault> {
        self.first.truncate(below)?;
        self.second.truncate(below)
    }

    fn restart(&mut self) -> Result<(), Fault> {
        self.first.restart()?;
        self.second.restart()
    }

    fn digest(&self) -> Result<u128, Fault> {
        let digest = self.first.digest()?;
        if self.bytes { same("digests", digest, &self.second.digest()?) } else { Ok(digest) }
    }

    fn canonical(&self) -> Result<Vec<u8>, Fault> {
        let (mut first, second) = (self.first.canonical()?, self.second.canonical()?);
        if self.bytes {
            return same("canonical bytes", first, &second);
        }
        first.extend(second);
        Ok(first)
    }

    fn check(&self) -> Result<(), Fault> {
        self.first.check()?;
        self.second.check()
    }
}

/// The first, if they are the same.
fn same<T: Debug + PartialEq>(what: &str, first: T, second: &T) -> Result<T, Fault> {
    if first == *second { Ok(first) } else { Err(format!("{what} differ: {first:?} and {second:?}").into()) }
}

/// A register in the order of writers and values, without what the clocks decide.
fn without_stamps(observed: Observed) -> Observed {
    let Observed::Register(mut siblings) = observed else { return observed };
    for sibling in &mut siblings {
        (sibling.stamp, sibling.wins) = Default::default();
    }
    siblings.sort_unstable();
    Observed::Register(siblings)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sim::{Defect, Naive, Runner, Schema};

    #[test]
    fn a_difference_is_a_failure() {
        let schema = Arc::new(Schema::every_kind());
        let naive = |replica| Naive::new(replica, &schema);
        let runner = Runner::new(&schema).histories(500);
        runner.run(|replica| Both::new(naive(replica), naive(replica)).bytes()).unwrap();
        for defect in [Defect::LosersPruned, Defect::ResetsNotAddressed, Defect::DeleteWithoutDot, Defect::ChangedAlways] {
            runner.run(|replica| Both::new(naive(replica), naive(replica).with(defect))).unwrap_err();
        }
    }
}

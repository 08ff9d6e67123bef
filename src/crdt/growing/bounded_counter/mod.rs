//! A counter that never goes below 0.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::independent;
use super::totals::Totals;
use crate::causal::ReplicaId;
use crate::crdt::{Crdt, Lattice, Refused};

/// A stock: what was granted, less what was taken, never below 0 at any replica, whatever is lost, late or repeated on the way.
///
/// Each replica takes from rights that it holds itself, so it needs to ask nobody: rights that it granted, or that others
/// transferred to it. Concurrent grants, takes and transfers all count, since each is written by the replica that gives up the
/// rights. A replica without rights is refused, even if others have some: it has to ask them for a transfer.
///
/// Every delta of a take or a transfer brings the rights that it draws on, back to their grants. So a replica that has seen
/// no other delta does not read less than 0 either. A single [part](crate::crdt::Decompose::parts) does not: join all of them, or what
/// [`minus`](crate::crdt::Decompose::minus) gives to the one whom it was made for.
///
/// All of it rests on one writer for each id. Two copies of a replica that both go on (a restored backup, a clone) can spend
/// the same rights twice. Then the sum may be more than was granted; it reads as 0, and nothing panics.
///
/// Cost: everything but a grant is linear in the pairs of replicas that rights went between. A delta has at most as many.
///
/// Source: Balegas et al., "Extending Eventually Consistent Cloud Databases for Enforcing Numeric Invariants" (2015):
/// the rights `R` and the consumed `U`, for the invariant "at least 0". Their states are joined
/// as a whole; that deltas bring the rights they draw on is ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BoundedCounter {
    /// `R[source][target]`, written by `source`: what it transferred, or with `source == target` what it granted.
    rights: Totals<(ReplicaId, ReplicaId), 2, 1>,
    /// `U[replica]`: what it has taken.
    used: Totals<ReplicaId, 1, 1>,
}

independent!([] BoundedCounter: rights, used);

impl BoundedCounter {
    /// Nothing granted: 0.
    #[must_use]
    pub fn new() -> Self {
        Self::bottom()
    }

    /// Adds `amount` to the sum, and to what `me` may take. Returns the delta; bottom if `amount` is 0.
    ///
    /// # Errors
    /// [`Refused::Overflow`]: what `me` has granted in all would not fit 64 bits.
    #[must_use = "the delta is what other replicas need"]
    pub fn grant(&mut self, me: ReplicaId, amount: u64) -> Result<Self, Refused> {
        let delta = Self { rights: self.rights.plus((me, me), 0, amount)?, used: Totals::bottom() };
        self.join(&delta);
        Ok(delta)
    }

    /// Takes `amount` from the sum. Returns the delta; bottom if `amount` is 0.
    ///
    /// # Errors
    /// [`Refused::Insufficient`]: `me` may not take that much. [`Refused::Overflow`]: what `me` has taken in all would not fit
    /// 64 bits.
    #[must_use = "the delta is what other replicas need"]
    pub fn take(&mut self, me: ReplicaId, amount: u64) -> Result<Self, Refused> {
        self.check(me, amount)?;
        let used = self.used.plus(me, 0, amount)?;
        let rights = if used.is_bottom() { Totals::bottom() } else { self.sources(me) };
        let delta = Self { rights, used };
        self.join(&delta);
        Ok(delta)
    }

    /// Lets `to` take `amount` in the place of `me`. The sum stays. Returns the delta; bottom if `amount` is 0, or `to` is `me`.
    ///
    /// # Errors
    /// [`Refused::Insufficient`]: `me` may not take that much. [`Refused::Overflow`]: what `me` has transferred to `to` in all
    /// would not fit 64 bits.
    #[must_use = "the delta is what other replicas need"]
    pub fn transfer(&mut self, me: ReplicaId, to: ReplicaId, amount: u64) -> Result<Self, Refused> {
        self.check(me, amount)?;
        if me == to {
            return Ok(Self::bottom());
        }
        let mut rights = self.rights.plus((me, to), 0, amount)?;
        if !rights.is_bottom() {
            rights.join(&self.sources(me));
        }
        let delta = Self { rights, used: Totals::bottom() };
        self.join(&delta);
        Ok(delta)
    }

    /// The sum, as far as is known here. It cannot overflow.
    #[must_use]
    pub fn value(&self) -> u128 {
        u128::try_from(self.sum()).unwrap_or(0)
    }

    /// What a replica may take, as far as is known here; of the own replica that is all there is to know.
    #[must_use]
    pub fn available(&self, replica: ReplicaId) -> u128 {
        u128::try_from(self.rights(replica)).unwrap_or(0)
    }

    /// Below 0 only if a replica had two writers.
    fn sum(&self) -> i128 {
        let granted: i128 =
            self.rights.iter().filter(|((source, target), _)| source == target).map(|(_, [n])| i128::from(n)).sum();
        granted - self.used.sum::<i128>(0)
    }

    /// Below 0 only if a replica had two writers.
    fn rights(&self, replica: ReplicaId) -> i128 {
        let [used] = self.used.get(replica);
        let mut rights = -i128::from(used);
        for ((source, target), [amount]) in self.rights.iter() {
            if target == replica {
                rights += i128::from(amount);
            } else if source == replica {
                rights -= i128::from(amount);
            }
        }
        rights
    }

    fn check(&self, me: ReplicaId, amount: u64) -> Result<(), Refused> {
        let available = self.available(me);
        if u128::from(amount) <= available {
            return Ok(());
        }
        let elsewhere = self.value().saturating_sub(available);
        // What is available is less than a number of 64 bits; of the rest, "at least so much" is all that a caller needs.
        let capped = |amount: u128| u64::try_from(amount).unwrap_or(u64::MAX);
        Err(Refused::Insufficient { available: capped(available), elsewhere: capped(elsewhere) })
    }

    /// All rights that went to a replica, to those whom it has them from, and so on: without them, what it gives up
    /// would come from nowhere.
    fn sources(&self, replica: ReplicaId) -> Totals<(ReplicaId, ReplicaId), 2, 1> {
        let mut sources = Totals::bottom();
        let mut seen = BTreeSet::from([replica]);
        let mut open = Vec::from([replica]);
        while let Some(holder) = open.pop() {
            for ((source, target), amount) in self.rights.iter().filter(|((_, target), _)| *target == holder) {
                sources.raise((source, target), amount);
                if seen.insert(source) {
                    open.push(source);
                }
            }
        }
        sources
    }
}

/// What can be done to a [`BoundedCounter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoundedCounterOp {
    /// [`BoundedCounter::grant`].
    Grant(u64),
    /// [`BoundedCounter::take`].
    Take(u64),
    /// [`BoundedCounter::transfer`].
    Transfer {
        /// Who may take it from now on.
        to: ReplicaId,
        /// How much.
        amount: u64,
    },
}

impl Crdt for BoundedCounter {
    type Op = BoundedCounterOp;
    type Read = u128;

    fn apply(&mut self, op: &BoundedCounterOp, me: ReplicaId) -> Result<Self, Refused> {
        match *op {
            BoundedCounterOp::Grant(amount) => self.grant(me, amount),
            BoundedCounterOp::Take(amount) => self.take(me, amount),
            BoundedCounterOp::Transfer { to, amount } => self.transfer(me, to, amount),
        }
    }

    fn read(&self) -> u128 {
        self.value()
    }
}

#[cfg(test)]
mod tests;

//! What is checked: a replica, as the runner sees it.

use core::error::Error;
use std::collections::BTreeSet;

use super::op::Op;
use super::schema::CellId;
use crate::causal::{Hlc, ReplicaId, VersionVector};

/// Any error of a subject. The histories make no call that may fail, so each is reported as a failure.
pub type Fault = Box<dyn Error + Send + Sync>;

/// One replica under test: a store, or anything that promises the same.
///
/// The runner knows from the calls alone which transactions a replica has seen, and so what each call must return and what
/// each cell must read. The contract, method by method:
///
/// | call | when | must |
/// |---|---|---|
/// | [`set_clock`](Self::set_clock) | before each call that writes or merges | set this replica's wall clock; it may go back |
/// | [`transact`](Self::transact) | 1 to 5 operations | be atomic; give the transaction the next numbers of this replica |
/// | [`delta_since`](Self::delta_since), [`merge`](Self::merge) | a batch may come late, twice, out of order, to another replica than the one it was made for | apply iff this replica's version covers what the batch's base and its maker's version share |
/// | [`apply`](Self::apply) | a pushed transaction may come late, twice, out of order | apply iff all that its writer saw is here |
/// | [`truncate`](Self::truncate), [`restart`](Self::restart) | at any time | change nothing that can be read |
///
/// State is a function of the set of transactions seen: replicas of equal versions have equal reads,
/// [`digest`](Self::digest) and [`canonical`](Self::canonical) bytes. The runner checks each of these after each step.
pub trait Subject {
    /// What a read of a register saw, kept by the application until it writes over it.
    type Seen;
    /// A difference to a base version.
    type Batch;
    /// One transaction as its own difference.
    type Pushed;

    /// Whose writes these are. Must not change.
    fn replica(&self) -> ReplicaId;

    /// Sets the wall clock of this replica, in milliseconds since 1970. It may stand still, jump or go back; the clocks of
    /// one history differ by less than ten seconds.
    fn set_clock(&mut self, now_ms: u64);

    /// All that this replica has seen.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn version(&self) -> Result<VersionVector, Fault>;

    /// Commits one transaction. [`Op::SetOver`] names its read by place in `hand`, all of which
    /// [`read_to_set_over`](Self::read_to_set_over) of this replica returned since its last restart.
    ///
    /// A transaction that changes nothing (a delete of what is absent) takes no number: the version stays. Any other moves this
    /// replica's own number, and no other. Returns the transaction to be pushed: `None` if it took no number, or if this
    /// subject does not push.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn transact(&mut self, ops: &[Op], hand: &[&Self::Seen]) -> Result<Option<Self::Pushed>, Fault>;

    /// What a cell reads now.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn read(&self, cell: CellId) -> Result<Observed, Fault>;

    /// Reads a register, to be written over later.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn read_to_set_over(&self, cell: CellId) -> Result<Self::Seen, Fault>;

    /// Everything that a replica of version `base` lacks, to bring it to this replica's version or above.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn delta_since(&mut self, base: &VersionVector) -> Result<Self::Batch, Fault>;

    /// Joins a batch that [`delta_since`](Self::delta_since) of another replica, or of this one, returned.
    ///
    /// # Errors
    /// Any is a failure of the history. A base that this replica does not cover is no error but [`Merged::Behind`].
    fn merge(&mut self, batch: &Self::Batch) -> Result<Merged, Fault>;

    /// Joins a transaction that [`transact`](Self::transact) of another replica, or of this one, returned. One that has to wait
    /// is not kept: the runner brings it again.
    ///
    /// # Errors
    /// Any is a failure of the history. A transaction that has to wait is no error but [`Applied::Waits`].
    fn apply(&mut self, pushed: &Self::Pushed) -> Result<Applied, Fault>;

    /// Forgets what is kept for peers below this version: the deletes, and whatever else a retention would drop. Batches made
    /// for a peer below it have to fall back on something else. A subject that keeps nothing does nothing.
    ///
    /// `below` is at most [`version`](Self::version) and may split transactions.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn truncate(&mut self, below: &VersionVector) -> Result<(), Fault>;

    /// Closes and opens the replica from what it has stored. The application's reads are gone; its identity stays.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn restart(&mut self) -> Result<(), Fault>;

    /// A fingerprint of everything that can be read; without the version.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn digest(&self) -> Result<u128, Fault>;

    /// The canonical bytes: every row with full replica ids, and the version. Only compared between replicas of one history, so
    /// the form is the subject's. Called at the end.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn canonical(&self) -> Result<Vec<u8>, Fault>;

    /// Checks its own invariants: counts, indexes, the digest against the rows. Called after each restart and at the end.
    ///
    /// # Errors
    /// Any is a failure of the history.
    fn check(&self) -> Result<(), Fault>;
}

/// What a cell reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Every concurrent value of a register, sorted (by stamp, then writer).
    Register(Vec<Sibling>),
    /// The sum of a counter; 0 if there is nothing.
    Counter(i128),
    /// Whether a flag is enabled; false if there is nothing.
    Flag(bool),
    /// The elements of a set.
    Set(BTreeSet<u64>),
    /// The join of a lattice.
    Lattice(BTreeSet<u64>),
}

/// One of the concurrent values of a register. Ordered by stamp and writer, so that the last one of all wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sibling {
    /// The stamp of its transaction.
    pub stamp: Hlc,
    /// Who wrote it.
    pub writer: ReplicaId,
    /// The value.
    pub value: u64,
    /// Whether `get` returns it.
    pub wins: bool,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// The batch is joined in.
    Applied {
        /// Whether the state differs from before: a row or the version. (A batch that brings only deletes of what was never
        /// here moves the version alone, and that is a change: equal vectors must mean equal states.)
        changed: bool,
        /// Whether the batch carried the list of everything live, because its maker had forgotten deletes after the base.
        used_live: bool,
    },
    /// This replica does not cover the base. Nothing changed.
    Behind,
}

/// What a pushed transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The transaction is joined in.
    Applied,
    /// It was here already. Nothing changed.
    Covered,
    /// Its writer had seen something that is not here. Nothing changed.
    Waits,
}

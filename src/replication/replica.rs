//! What the engine asks of a store.

use std::fmt;

use crate::causal::{Pages, ReplicaId, Transaction, VersionVector};

use super::spool::Spool;

/// A replica of one space, as the engine sees it: events and opaque bytes. [`Attached`](crate::kv::Attached) is the one of a
/// [`Store`](crate::Store).
///
/// Everything that a call returns may be sent to peers, so it must be durable: what a peer has, a crash must not take back.
pub trait Replica {
    /// Which space this is a replica of. Peers exchange only what is of one space.
    fn space(&self) -> [u8; 16];

    /// The state of the replica, as far as it is durable.
    ///
    /// # Errors
    /// The store failed.
    fn summary(&mut self) -> Result<Summary, Fault>;

    /// What was committed since the last call, but for what came in by [`merge`](Self::merge) and [`apply`](Self::apply) of this
    /// handle.
    ///
    /// # Errors
    /// The store failed.
    fn news(&mut self) -> Result<News, Fault>;

    /// Whether there are peers that its transactions are pushed to. Until then [`news`](Self::news) need not have them, and none counts
    /// as given away: a replica that is a restored copy must hear of that first.
    fn set_live(&mut self, is_live: bool);

    /// A peer has this version. If it has more of this replica than that has given away, this is a copy, and takes a new id.
    ///
    /// # Errors
    /// The store failed.
    fn hear_of(&mut self, version: &VersionVector) -> Result<(), Fault>;

    /// Writes what this replica has and another one lacks.
    ///
    /// # Errors
    /// The store failed, or the version claims what cannot be.
    fn answer(&mut self, wanted: &Wanted<'_>, to: &mut Spool) -> Result<Answered, Fault>;

    /// Compares pages of an [`answer`](Self::answer) with what is live here: pages that are the same, and smaller ones, made of pages of
    /// about `page` live events, where it is not.
    ///
    /// # Errors
    /// The store failed.
    fn compare(&mut self, theirs: &Pages, page: usize) -> Result<Compared, Fault>;

    /// Merges what another replica's [`answer`](Self::answer) wrote: all of it, or nothing.
    ///
    /// # Errors
    /// It is damaged, or starts beyond what this replica has; or the store failed. Nothing was merged.
    fn merge(&mut self, from: &mut Spool) -> Result<Joined, Fault>;

    /// Applies a transaction, if what it builds on is there.
    ///
    /// # Errors
    /// It is none, or the store failed. Nothing was applied.
    fn apply(&mut self, transaction: &Transaction) -> Result<Applied, Fault>;
}

/// What a replica is to be told.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What it has.
    pub base: &'a VersionVector,
    /// How it is told what is live, if deletes may have been forgotten that it lacks.
    pub listing: Listing<'a>,
    /// Besides, all that is known of each replica's history, and not only what is new to it: it has found out that it has other contents.
    pub all_points: bool,
}

/// How a replica whose deletes may be forgotten is told what is live.
#[derive(Debug, Clone, Copy)]
pub enum Listing<'a> {
    /// All of it, if that is short. Otherwise pages of about so many live events, for [`Replica::compare`].
    Short {
        /// Live events in a page.
        page: usize,
    },
    /// But for what is in pages that are the same here.
    Pages(&'a Pages),
    /// All of it.
    Whole,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It is written.
    Written,
    /// Much is live, and nothing is written: compare these first.
    Pages(Pages),
}

/// How a replica stands to the pages of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Its version, of which the pages are.
    pub base: VersionVector,
    /// Its own pages; `None`: so much differs that a whole list is shorter.
    pub pages: Option<Pages>,
}

/// The state of a replica, in a few bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Who writes here; `None` before the first write.
    pub replica: Option<ReplicaId>,
    /// Up to which of its own events others may have them. Who has more has them from another copy of it.
    pub given_away: u64,
    /// Which events it has.
    pub version: VersionVector,
    /// Stands for the version: equal versions, equal numbers.
    pub version_digest: u64,
    /// Stands for the contents: equal versions must have equal digests.
    pub state_digest: [u8; 16],
}

impl Summary {
    /// Whether what a version has of this replica can have come from it. If not, there is another copy of it, and this one must find out.
    pub(crate) fn explains(&self, version: &VersionVector) -> bool {
        self.replica.is_none_or(|replica| version.get(replica) <= self.given_away)
    }
}

/// What was committed since the last look.
#[derive(Debug, Clone, Default)]
pub struct News {
    /// The replica's own transactions, in order.
    pub transactions: Vec<Transaction>,
    /// There is more than these, which only a [`Summary`] tells.
    pub moved: bool,
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Whether there was anything new in it.
    pub changed: bool,
    /// Which events the one has who wrote it.
    pub sender: VersionVector,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It is in now.
    Merged,
    /// It was in already.
    Covered,
    /// What it builds on is not in yet. Nothing changed.
    Waits {
        /// What must be in before.
        need: VersionVector,
    },
}

/// Why a replica did not do what it was asked for. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// What a peer sent is not what it should be: the peer is at fault.
    Malformed(String),
    /// A transaction that is well-formed and breaks the rules: who made it is at fault, and not who passed it on.
    Invalid(String),
    /// What a peer sent starts beyond what this replica has: ask again.
    Behind,
    /// This replica takes nothing, or gives nothing: it was opened for reading only.
    Refused(String),
    /// The store failed, and does nothing further.
    Failed(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "what the peer sent is malformed: {what}"),
            Self::Invalid(what) => write!(f, "a transaction breaks the rules: {what}"),
            Self::Behind => f.write_str("what the peer sent starts beyond what this replica has"),
            Self::Refused(what) => write!(f, "the store refuses: {what}"),
            Self::Failed(what) => write!(f, "the store failed: {what}"),
        }
    }
}

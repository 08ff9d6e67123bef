//! What peers say to each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::causal::{Pages, ReplicaId, Transaction, VersionVector};

/// One message about one space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    Pull(Pull),
    Pages(PagesOf),
    Batch(Batch),
    Push(Push),
    Have(Have),
    Bye { code: ByeCode, text: String },
}

/// How a replica stands: equal digests, and there is nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Who writes here; `None`: nobody yet.
    pub(crate) replica: Option<ReplicaId>,
    /// The peer should say how it stands, too.
    pub(crate) is_question: bool,
    /// This side takes nothing: do not push to it.
    pub(crate) takes_nothing: bool,
    pub(crate) version_digest: u64,
    pub(crate) state_digest: [u8; 16],
}

/// Asks for what the peer has and a replica of version `base` lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pull {
    /// Of the one who asks.
    pub(crate) id: u64,
    /// Push me these replicas again: I have declined them, and they do not come another way.
    pub(crate) grafts: Vec<ReplicaId>,
    /// Go on with an answer that was cut short, if it is still there.
    pub(crate) resume: Option<(AnswerId, u64)>,
    pub(crate) base: VersionVector,
    /// How to say what is live, if `base` is below the floor.
    pub(crate) live: Live,
    /// With all that is known of each replica's history: the two differ, and nobody knows why.
    pub(crate) all_points: bool,
}

/// How an answer says what is live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Live {
    /// If that is long, not before pages were compared.
    #[default]
    Short,
    /// But for what is the same in these pages, of `base`.
    Pages(Arc<Pages>),
    /// All of it.
    Whole,
}

/// Pages to compare before the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagesOf {
    /// Of the [`Pull`] that it answers.
    pub(crate) pull: u64,
    pub(crate) pages: Pages,
}

/// One answer, of whoever gave it.
pub(crate) type AnswerId = u64;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Of the [`Pull`] that it answers.
    pub(crate) pull: u64,
    pub(crate) answer: AnswerId,
    /// Where the piece stands in the answer.
    pub(crate) offset: u64,
    /// Whether the answer ends with it.
    pub(crate) is_last: bool,
    pub(crate) bytes: Bytes,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    pub(crate) transaction: Arc<Transaction>,
    /// It is passed on before it is in: this side need not have what it builds on.
    pub(crate) is_early: bool,
}

/// Events that this side has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Have {
    /// Push me everything again, whatever I have declined.
    pub(crate) accepts_all: bool,
    /// I will not push these: ask for them.
    pub(crate) is_to_be_pulled: bool,
    /// Of each replica, all events up to a number. Sorted.
    pub(crate) seqs: Vec<(ReplicaId, u64)>,
    /// Push me no more of these replicas: their transactions come to me another way first.
    pub(crate) declines: Vec<ReplicaId>,
}

/// Why a peer ends the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ByeCode {
    /// It shuts down, or no longer keeps the space.
    Leaving,
    /// What it was sent is malformed.
    Malformed,
    /// It was sent more than it takes.
    TooMuch,
    /// Its store has failed.
    Failed,
    /// A reason that this version does not know.
    Other(u64),
}

impl ByeCode {
    pub(crate) const fn to_number(self) -> u64 {
        match self {
            Self::Leaving => 1,
            Self::Malformed => 2,
            Self::TooMuch => 3,
            Self::Failed => 4,
            Self::Other(number) => number,
        }
    }

    pub(crate) const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Leaving,
            2 => Self::Malformed,
            3 => Self::TooMuch,
            4 => Self::Failed,
            number => Self::Other(number),
        }
    }
}

//! Why an operation was refused.

use core::fmt;

/// A local operation that cannot be done. What it was called on has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The result is outside of the range of its type. Nothing ever wraps or saturates.
    Overflow,
    /// The replica has made [`SEQ_MAX`](crate::causal::SEQ_MAX) events: it goes on under a new id.
    Exhausted,
    /// The replica holds too few rights of its own: ask others for a transfer.
    Insufficient {
        /// What this replica may take.
        available: u64,
        /// What all others may take, as far as is known here.
        elsewhere: u64,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overflow => f.write_str("the result is outside of the range of its type; nothing was changed"),
            Self::Exhausted => f.write_str(
                "the replica has made as many events as there are numbers; nothing was changed, go on under a new id",
            ),
            Self::Insufficient { available, elsewhere } => write!(
                f,
                "this replica may take {available}, and others {elsewhere}; nothing was changed, ask for a transfer of rights"
            ),
        }
    }
}

impl core::error::Error for Refused {}

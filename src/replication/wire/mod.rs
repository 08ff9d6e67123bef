//! The bytes of a frame.
//!
//! ```text
//! frame   := version (1), store, message+
//! store   := 0 space (16) | number                the first store that a link names is number 1, and so on
//! message := HELLO flags, [replica (16)], version digest (8), state digest (16)
//!          | PULL  id, flags, [answer (8), offset], [count, replica*], vector, [pages]
//!          | BATCH pull, answer (8), offset, flags, length, bytes
//!          | PUSH  flags, [count], replica*, [origin], lo, [rows, count, (place, seq)*], [stamp], body     to the end of the frame
//!          | PUSH_SIZED length, what a PUSH has behind its number
//!          | HAVE  flags, vector, [count, replica*]
//!          | BYE   code, length, text
//!          | PAGES pull, pages
//! vector  := count, (replica, seq)*
//! pages   := count, (replica, count, (seq, less the one before; fingerprint (8))*)*     sorted by id
//! replica := 0 id (16) | number                   the first replica that a link names is number 1, and so on
//! ```
//!
//! Numbers instead of ids, and what is left out of a transaction because the one before it said it, need frames that arrive once and in
//! order. On a link that does not promise that, each frame stands alone: every id is whole.
//!
//! ```text
//!            ordered                                 each frame alone
//! store      number, once it was named               space (16)
//! replica    number, once it was named               id (16)
//! base       what has changed since the last one     the whole vector
//! lo, stamp  less what the last push made likely     whole
//! ```

mod decode;
mod encode;
mod expected;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

/// Of the protocol: the first byte of each frame.
const PROTOCOL: u8 = 1;

const HELLO: u8 = 1;
const PULL: u8 = 2;
const BATCH: u8 = 3;
const PUSH: u8 = 4;
const HAVE: u8 = 5;
const BYE: u8 = 6;
/// A PUSH behind which something follows: its length first.
const PUSH_SIZED: u8 = 7;
const PAGES: u8 = 8;

/// Flags of HELLO.
const NAMED: u8 = 1;
const QUESTION: u8 = 2;
const TAKES_NOTHING: u8 = 4;

/// Flags of PULL.
const GRAFT: u8 = 1;
const RESUME: u8 = 2;
/// The vector is whole, and not what has changed since the last one.
const WHOLE: u8 = 4;
/// Pages of what is live at the base follow.
const PAGED: u8 = 8;
/// All that is live is to be listed.
const LISTED: u8 = 16;
const ALL_POINTS: u8 = 32;

/// Flags of BATCH.
const LAST: u8 = 1;

/// Flags of HAVE.
const ACCEPTS_ALL: u8 = 1;
const TO_BE_PULLED: u8 = 2;
const DECLINES: u8 = 4;

/// Flags of PUSH.
const STAMPED: u8 = 1;
/// The origin is the only replica that the transaction names.
const ALONE: u8 = 2;
/// One row, and no dependencies.
const SHORT: u8 = 4;
/// Whoever sends it need not have it yet.
const EARLY: u8 = 8;

/// How many stores and replicas a link may name: the memory for them is bounded.
const STORES_MAX: usize = 1 << 16;
const REPLICAS_MAX: usize = 1 << 20;

/// The longest text of a BYE, in bytes.
const TEXT_MAX: usize = 512;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

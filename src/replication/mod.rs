//! Keeps replicas in step: what each peer lacks reaches it, over links that lose, repeat and reorder.
//!
//! ```text
//!   store ──Changed──▶ ┌────────┐ ──Send, Close──▶ links
//!                      │ Engine │
//!   links ──Received─▶ └────────┘ ──Event──▶ people          no socket, no thread, no clock in it
//! ```
//!
//! | message | says |
//! |---|---|
//! | HELLO | how a replica stands: digests of its version and of its contents. Equal: nothing to do |
//! | PULL → BATCH | "what have you that this version lacks?", and the answer, in pieces |
//! | PAGES | fingerprints of what is live, for one who asks after deletes were forgotten that it lacks: it asks again, and says what differs
//! | PUSH | a transaction that was just committed, which anyone passes on |
//! | HAVE | which events are here: an acknowledgement for who sent them, an offer for who did not |
//! | BYE | why a peer ends the conversation |
//!
//! Any message may be lost, repeated or reordered. What went missing is noticed by the next HELLO and repaired by a PULL, whose answer is
//! checked by the store itself: nothing that a peer says of what it has or lacks can make a store wrong, only slow.
//!
//! Pushes of each replica travel along a tree of its own that finds itself: a peer that gets a transaction a second time declines what
//! comes from that replica over that link, and is only told there what there is; when something does not come, it asks for it, and is pushed
//! to again. One tree for all would be smaller, and comes apart when several write at once: each of their floods leaves out other links. Source: Leitão, Pereira, Rodrigues,
//! "Epidemic Broadcast Trees" (2007), with version vectors in the place of lists of message ids.

mod config;
mod engine;
mod io;
pub(crate) mod message;
pub(crate) mod mutant;
mod replica;
mod spool;
pub(crate) mod wire;

pub use config::{Config, Moment};
pub use engine::Engine;
pub use io::{Access, Event, Input, Link, Output, PeerId, PeerStatus, Space, Traffic};
pub use message::ByeCode;
pub use replica::{Answered, Applied, Compared, Fault, Joined, Listing, News, Replica, Summary, Wanted};
pub use spool::Spool;

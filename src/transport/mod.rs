//! Moves frames between nodes: a trait, and what implements it.
//!
//! ```text
//!   node ◀── up, down, unreachable, received, sent ── Link ── outgoing ──▶ Transport ◀────▶ the transports of other nodes
//! ```
//!
//! | | is |
//! |---|---|
//! | [`Tcp`](tcp::Tcp) (feature `tcp`) | for peers that reach each other over a network |
//! | [`Memory`](memory::Memory) | nodes in one process, with loss, repetition, reordering and cuts: for tests of applications |
//! | yours | whatever carries bytes: a broker, a serial line, Bluetooth. [`conformance`](conformance()) checks it |
//!
//! A transport does not know what frames mean, and need not: the engine above repairs what gets lost.

pub mod conformance;
mod link;
pub mod memory;
#[cfg(feature = "tcp")]
pub mod tcp;

use std::future::Future;
use std::io;

pub use conformance::conformance;
pub use link::{Channel, Link, Outgoing, PeerName};
pub(crate) use link::{FromLink, Port};

/// The longest frame that a node gives out, in bytes: 16 MiB, and what goes around them.
pub const FRAME_BYTES_MAX: usize = (16 << 20) + 64;

/// Carries frames to other nodes and back, as long as [`run`](Self::run) is polled.
///
/// What an implementer must do:
///
/// - Tell [`Link::up`] when there is a way to a peer, before the first frame of it, and [`Link::down`] when there is none any more.
///   A peer that comes back is `up` again.
/// - Bring a node nothing of what it has said itself. Whoever has what a store has not given away yet is another copy of its file, so the store
///   would take a new id.
/// - Give each frame of [`Link::outgoing`] to the peer that it is for, as it is, and say [`Link::sent`] with its length once it has left
///   memory or was lost: the node gives out no more than [`Channel::window`] bytes, and one frame, that are not. Frames for a peer that is
///   not up are dropped, and nothing is said of them.
/// - Wait for [`Link::received`], and take nothing off the wire for that peer meanwhile, so that the other side feels it.
/// - On [`Outgoing::Close`] pass on what was given out before, and close the way to the peer. `down` need not be told.
/// - When [`Link::outgoing`] gives `None`, pass on what was given out before, within a time, and return.
/// - If [`Channel::is_ordered`]: each frame arrives once and in order, or both ends are told `down`. Otherwise frames may be lost,
///   repeated and reordered.
///
/// What it need not do: understand, sign, compress or repeat frames; know who else there is; connect again, if the way there comes back
/// by itself. A peer may be anything that a short string names.
///
/// An error of `run` is told to people, as [`NodeEvent::TransportEnded`], and its peers are gone; the node goes on with its others.
///
/// [`NodeEvent::TransportEnded`]: crate::node::NodeEvent::TransportEnded
pub trait Transport: Send + 'static {
    /// Carries frames until the node shuts down.
    fn run(self, link: Link) -> impl Future<Output = io::Result<()>> + Send;
}

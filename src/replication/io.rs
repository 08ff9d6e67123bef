//! What goes into an engine, and what comes out of it.

use std::fmt;

use crate::causal::ReplicaId;

use super::config::Moment;
use super::message::ByeCode;
use super::replica::Fault;

/// The space of a store, in 16 bytes.
pub type Space = [u8; 16];

/// A link to a peer. The driver numbers them; a peer that comes back gets a new number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// What a link to a peer is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Each frame arrives once, and in order, or the link goes [`Down`](Input::Down). Otherwise frames may be lost, repeated and
    /// reordered, and each of them stands alone, which takes more bytes.
    pub is_ordered: bool,
    /// How many bytes may be under way: what was given out and not yet said to be [`Sent`](Input::Sent).
    pub window: u64,
    /// What is exchanged with the peer.
    pub access: Access,
}

/// What is exchanged with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Both sides give and take.
    #[default]
    Full,
    /// The peer is given what is here, and nothing is taken from it.
    Reader,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// There is a link to a peer.
    Up {
        /// A number that was not used before.
        peer: PeerId,
        /// What it is like.
        link: Link,
    },
    /// The link is gone.
    Down {
        /// Which one.
        peer: PeerId,
    },
    /// A frame has come.
    Received {
        /// From whom.
        peer: PeerId,
        /// As it was sent.
        frame: Vec<u8>,
    },
    /// The link has taken bytes off our hands, so that there is room for as many.
    Sent {
        /// Which one.
        peer: PeerId,
        /// How many bytes.
        bytes: u64,
    },
    /// A store has something new: its wake-up was called.
    Changed {
        /// Which one.
        space: Space,
    },
    /// Nothing but that time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a frame.
    Send {
        /// To whom.
        to: PeerId,
        /// One whole frame.
        frame: Vec<u8>,
    },
    /// Close a link. It is gone for the engine: no [`Down`](Input::Down) is needed.
    Close {
        /// Which one.
        peer: PeerId,
    },
    /// Something that people may want to know.
    Event(Event),
    /// Nothing more until then, if nothing else happens before; `None`: until something happens.
    WaitUntil(Option<Moment>),
}

/// Something that people may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer keeps a space, too.
    Met {
        /// Who.
        peer: PeerId,
        /// Which space.
        space: Space,
        /// The replica; `None`: it has not written yet.
        replica: Option<ReplicaId>,
    },
    /// A peer has exactly what this store has.
    InStep {
        /// Who.
        peer: PeerId,
        /// Which space.
        space: Space,
    },
    /// A peer has the same version and other contents: a fork, damage, or a bug. What differs stays different until it is written
    /// again.
    Diverged {
        /// Who.
        peer: PeerId,
        /// Which space.
        space: Space,
    },
    /// A peer was cut off.
    CutOff {
        /// Who.
        peer: PeerId,
        /// What kind of reason it was given.
        code: ByeCode,
        /// Why.
        why: String,
    },
    /// A peer has said goodbye.
    Left {
        /// Who.
        peer: PeerId,
        /// Which space.
        space: Space,
        /// What kind of reason it gave.
        code: ByeCode,
        /// Why.
        why: String,
    },
    /// A store did not do what it was asked for. If it failed, nothing is exchanged for it any more.
    Trouble {
        /// Which one.
        space: Space,
        /// What it says.
        fault: Fault,
    },
}

/// How a peer stands with one store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStatus {
    /// Which link.
    pub peer: PeerId,
    /// Which space.
    pub space: Space,
    /// Whether it keeps the space, as far as is known.
    pub is_met: bool,
    /// The replica, once it has said so.
    pub replica: Option<ReplicaId>,
    /// Of how many replicas it gets transactions another way first, and is only told what there is.
    pub declines: usize,
    /// How many events it lacks of those that are here, as far as is known.
    pub lacks: u64,
    /// How many events it has that are not here.
    pub is_ahead: u64,
    /// When something came from it last.
    pub last_heard: Moment,
    /// What was sent to it, with all stores.
    pub sent: Traffic,
    /// What came from it, with all stores.
    pub received: Traffic,
}

/// What went over a link, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes of frames, without what the transport adds.
    pub bytes: u64,
    /// Transactions that were pushed.
    pub transactions: u64,
    /// Those of them that had come before.
    pub repeated: u64,
}

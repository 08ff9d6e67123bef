//! Why a connection is not made, or ends.

use std::io;
use std::time::Duration;

/// Why a connection is not made, or ends. The others go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The other end does not begin as a node of tombolo does.
    #[error("the other end is no tombolo node")]
    Stranger,
    /// The other end speaks another version of the protocol.
    #[error("the other end speaks version {theirs} of the protocol, this node speaks {ours}: update the older one")]
    OtherVersion {
        /// Of this node.
        ours: u8,
        /// Of the other end; 0: it refused ours, and did not say.
        theirs: u8,
    },
    /// The address is this node's own.
    #[error("the address is that of this node itself")]
    Oneself,
    /// There is a connection to that node already, and it is kept.
    #[error("there is a connection to that node already")]
    AlreadyConnected,
    /// One of the two has as many connections as it takes.
    #[error("{} as many connections as it takes", if *here { "this node has" } else { "the other end has" })]
    Full {
        /// Whether it is this node.
        here: bool,
    },
    /// The other end did not introduce itself in time.
    #[error("the other end did not introduce itself within {within:?}")]
    Late {
        /// How long it had.
        within: Duration,
    },
    /// Nothing came for too long, not even that the other end is still there.
    #[error("nothing came for {for_:?}")]
    Silent {
        /// How long it was waited for.
        for_: Duration,
    },
    /// The other end announces a frame that is longer than any, or in more bytes than it takes.
    #[error("the length of a frame is {what}")]
    BadLength {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The other end has closed the connection.
    #[error("the other end has closed the connection")]
    Closed,
    /// This node closes the connection.
    #[error("{0}")]
    Ended(&'static str),
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
}

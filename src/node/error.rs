//! What can go wrong with a node. No store is changed by any of it.

use std::io;

/// What went wrong with a node. The stores are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The address to listen at is none, or is taken. Nothing was started.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no thread, or no random bytes. Nothing was started.
    #[error("the node cannot start: {0}")]
    Start(#[source] io::Error),
    /// A node is started within a tokio runtime, and there is none. Nothing was started.
    #[error("there is no tokio runtime here to run the network in")]
    NoRuntime,
    /// The node has stopped. Nothing was done.
    #[error("the node has stopped")]
    Stopped,
    /// A part of the node has panicked: a bug. The stores have everything that was written.
    #[error("the node has stopped by a bug: a part of it panicked")]
    Panicked,
}

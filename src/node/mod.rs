//! The node: keeps the stores of a process in step with those of its peers, in the background.
//!
//! ```text
//!   application ── writes, reads ──▶ Store
//!        │                             │ wakes          a thread of its own
//!        │ Node                ┌───────▼──────────────────────────┐
//!        └── commands ────────▶│ driver: Engine, clock, who is up │   it may wait for the disk
//!                              └──▲───────────────────────────┬───┘
//!                    Link: frames │                           │ frames        tasks of the runtime
//!                              ┌──┴───────────────────────────▼───┐
//!                              │ transports                       │   they never do
//!                              └──────────────────────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `builder` | which stores, peers and transports there are at first |
//! | `driver` | runs the engine; `peers` is who there is, `wait` who waits for what |
//! | `status`, `event` | what people are told |
//! | `clock` | the only clock of the network |
//!
//! No write waits for the network, and none is lost with it: what is written is in the store, and the store is all that counts.

mod builder;
mod clock;
mod driver;
mod error;
mod event;
mod peers;
mod status;
mod wait;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use crate::causal::VersionVector;
use crate::kv::Store;
#[cfg(feature = "tcp")]
use crate::replication::Access;
#[cfg(feature = "tcp")]
use crate::transport::PeerName;
#[cfg(feature = "tcp")]
use crate::transport::tcp::TcpHandle;

pub use builder::NodeBuilder;
use driver::Command;
pub use error::NodeError;
pub use event::{Events, NodeEvent};
pub use status::{NodeStatus, PeerState, PeerStatus, SpaceStatus, StoreStatus};
pub use wait::Ack;
use wait::{For, Waiter};

/// How long a transport may take to end.
const END_WITHIN: Duration = Duration::from_secs(6);

/// Keeps stores in step with those of peers. Clones are the same node; when the last one is dropped, it stops in the background, and
/// nothing is lost.
///
/// ```
/// use std::time::Duration;
/// use tombolo::Store;
/// use tombolo::node::{Ack, Node};
///
/// # #[cfg(feature = "tcp")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (phone, laptop) = (Store::in_memory(), Store::in_memory());
/// let one = Node::builder(laptop.clone()).listen("127.0.0.1:0").start().await?;
/// let address = one.local_addr().expect("it listens").to_string();
/// let other = Node::builder(phone.clone()).peer(address).start().await?;
///
/// phone.counter("visits").add(2)?;
/// assert!(other.wait_for(&phone.version()?, Ack::All, Duration::from_secs(20)).await?);
/// assert_eq!(laptop.counter("visits").get()?, 2);
/// other.shutdown().await?;
/// # Ok(())
/// # }
/// # #[cfg(feature = "tcp")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    commands: Sender<Command>,
    /// Only to be subscribed to: what comes is dropped when there is too much of it.
    events: broadcast::Receiver<NodeEvent>,
    /// Whether the driver has ended, and let go of the stores.
    ended: watch::Receiver<bool>,
    /// Transports that nobody has waited for.
    transports: Mutex<Vec<(JoinHandle<()>, AbortHandle)>>,
    local_addr: Option<SocketAddr>,
    #[cfg(feature = "tcp")]
    tcp: TcpHandle,
}

impl Node {
    /// A node for a store, that is yet to be told whom it is for.
    pub fn builder(store: Store) -> NodeBuilder {
        NodeBuilder::new(store)
    }

    /// Keeps another store in step, too. One that has the space of another takes its place.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn add_store(&self, store: &Store) -> Result<(), NodeError> {
        self.tell(driver::attach(&self.inner.commands, store))
    }

    /// Dials an address over TCP, from now on and whenever the connection is lost.
    ///
    /// # Errors
    /// The node has stopped.
    #[cfg(feature = "tcp")]
    pub fn add_peer(&self, address: impl Into<PeerName>) -> Result<(), NodeError> {
        self.add(address.into(), Access::Full)
    }

    /// Dials an address, and gives to it without taking: as [`NodeBuilder::reader`].
    ///
    /// # Errors
    /// The node has stopped.
    #[cfg(feature = "tcp")]
    pub fn add_reader(&self, address: impl Into<PeerName>) -> Result<(), NodeError> {
        self.add(address.into(), Access::Reader)
    }

    #[cfg(feature = "tcp")]
    fn add(&self, address: PeerName, access: Access) -> Result<(), NodeError> {
        // The driver must know what may be taken from it before it is there.
        self.tell(Command::Know { peer: address.clone(), access })?;
        self.inner.tcp.add_peer(address);
        Ok(())
    }

    /// Dials an address no more, and closes the connection to it. A peer that dials this node comes again.
    ///
    /// # Errors
    /// The node has stopped.
    #[cfg(feature = "tcp")]
    pub fn remove_peer(&self, address: impl Into<PeerName>) -> Result<(), NodeError> {
        let address = address.into();
        self.tell(Command::Forget { peer: address.clone() })?;
        self.inner.tcp.remove_peer(address);
        Ok(())
    }

    /// Where it listens for TCP.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.local_addr
    }

    /// How each peer stands with each store. Waits while a store is busy with a merge.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<NodeStatus, NodeError> {
        let (tell, told) = oneshot::channel();
        self.tell(Command::Status(tell))?;
        told.await.map_err(|_gone| NodeError::Stopped)
    }

    /// Waits until peers have said that they have everything up to a version, on their disks: what [`Store::version`] or
    /// [`Tx::commit`](crate::Tx::commit) returned. Returns whether they have within that time. Peers say so of several events at once,
    /// each after [`Config::have_after`](crate::replication::Config::have_after) at the latest: of 100 ms, unless they are told otherwise.
    ///
    /// A time-out is not a rollback. What was written stays written, goes out as soon as it can, and may be at some peers already.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn wait_for(&self, version: &VersionVector, who: Ack, within: Duration) -> Result<bool, NodeError> {
        self.wait(version, For::Peers(who), within).await
    }

    /// Waits until a store of this node has everything up to a version. For whoever has written elsewhere and goes on here: take the version
    /// along, and wait for it before you read. Returns whether it is here within that time.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn wait_until_here(&self, version: &VersionVector, within: Duration) -> Result<bool, NodeError> {
        self.wait(version, For::Here, within).await
    }

    async fn wait(&self, version: &VersionVector, what: For, within: Duration) -> Result<bool, NodeError> {
        let (tell, told) = oneshot::channel();
        self.tell(Command::Wait(Waiter { version: version.clone(), what, tell }))?;
        match timeout(within, told).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(_gone)) => Err(NodeError::Stopped),
            Err(_late) => Ok(false),
        }
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.inner.events.resubscribe())
    }

    /// Says goodbye to the peers, sends what was given out, and stops; the stores are let go of. Waits while one of them is busy with a
    /// merge, and a few seconds for peers that take nothing. Whoever has a clone may call it, also again.
    ///
    /// # Errors
    /// The node has not stopped as it should. The stores have everything that they had.
    pub async fn shutdown(&self) -> Result<(), NodeError> {
        // Nobody there: it has stopped already.
        self.inner.commands.send(Command::Stop).ok();
        let mut ended = self.inner.ended.clone();
        let has_ended = ended.wait_for(|ended| *ended).await.is_ok();
        let mut transports = self.inner.transports.lock().await;
        let mut has_panicked = !has_ended;
        for (mut task, transport) in transports.drain(..) {
            if timeout(END_WITHIN, &mut task).await.is_err() {
                transport.abort();
                has_panicked |= task.await.is_err();
            }
        }
        if has_panicked { Err(NodeError::Panicked) } else { Ok(()) }
    }

    fn tell(&self, command: Command) -> Result<(), NodeError> {
        self.inner.commands.send(command).map_err(|_gone| NodeError::Stopped)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The driver says goodbye and ends; the transports see that, and end, too.
        self.commands.send(Command::Stop).ok();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("local_addr", &self.inner.local_addr).finish_non_exhaustive()
    }
}

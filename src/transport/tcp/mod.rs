//! Nodes that reach each other over TCP.
//!
//! | file | what |
//! |---|---|
//! | `preface` | what both ends say first, so that strangers, other versions and oneself are refused |
//! | `registry` | who is connected; of two connections between the same nodes one is closed |
//! | `connection` | one connection, from the first byte to the last |
//! | `dial` | connecting, again and again, at longer and longer intervals |
//! | `frame` | frames in a stream of bytes |
//!
//! Nothing is encrypted, and nobody is asked who they are: whoever reaches the listener may read and write what is replicated. Use it inside
//! a network that you trust, or through a tunnel.

mod connection;
mod dial;
mod error;
mod frame;
#[cfg(test)]
mod golden;
mod preface;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::{Link, Outgoing, PeerName, Transport};
pub use error::TcpError;
use registry::Registry;

/// How many bytes may be under way to one peer.
const WINDOW: u64 = 1 << 20;

/// Limits of a [`Tcp`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that are up; beyond, a node that comes is told so. 256.
    pub connections: usize,
    /// Connections that came in, and have not introduced themselves yet; beyond, they wait. 32.
    pub half_open: usize,
    /// How long the other end may take to introduce itself, and a connection to come about. 10 s.
    pub preface_within: Duration,
    /// After so long without a frame, a connection says that it is still there; one that says nothing for three times as long is closed.
    /// 10 s. Equal at both ends, about.
    pub keep_alive: Duration,
    /// The pause before a failed connection is tried again: at first, and at most. It doubles in between. 0.1 s and 30 s.
    pub retry: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            half_open: 32,
            preface_within: Duration::from_secs(10),
            keep_alive: Duration::from_secs(10),
            retry: (Duration::from_millis(100), Duration::from_secs(30)),
        }
    }
}

/// Listens, dials, and keeps the connections up.
///
/// A peer that is dialled has the name of its address, as it was given; also if it is the peer that has dialled in the end. Others have
/// the address that they come from.
#[derive(Debug)]
pub struct Tcp {
    listener: Option<std::net::TcpListener>,
    peers: Vec<PeerName>,
    limits: Limits,
    handle: TcpHandle,
    control: mpsc::UnboundedReceiver<Control>,
}

/// Tells a [`Tcp`] that runs whom to dial. Clones tell the same one.
#[derive(Debug, Clone)]
pub struct TcpHandle {
    control: mpsc::UnboundedSender<Control>,
}

#[derive(Debug)]
enum Control {
    Add(PeerName),
    Remove(PeerName),
}

impl TcpHandle {
    /// Dials an address from now on, and again whenever the connection is lost.
    pub fn add_peer(&self, address: impl Into<PeerName>) {
        // Nobody there: it has ended.
        self.control.send(Control::Add(address.into())).ok();
    }

    /// Dials an address no more, and closes the connection to it.
    pub fn remove_peer(&self, address: impl Into<PeerName>) {
        self.control.send(Control::Remove(address.into())).ok();
    }
}

impl Tcp {
    /// Only dials.
    #[must_use]
    pub fn dialling() -> Self {
        let (send, control) = mpsc::unbounded_channel();
        let handle = TcpHandle { control: send };
        Self { listener: None, peers: Vec::new(), limits: Limits::default(), handle, control }
    }

    /// Listens at an address, and dials. With port 0 the system chooses one: see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// The address is none, or is taken.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::listening(TcpListener::bind(address).await?.into_std()?))
    }

    /// Uses a listener that is there already, as one that a supervisor gives to a service, and dials.
    #[must_use]
    pub fn listening(listener: std::net::TcpListener) -> Self {
        Self { listener: Some(listener), ..Self::dialling() }
    }

    /// Also dials this address: a host and a port.
    #[must_use]
    pub fn peer(mut self, address: impl Into<PeerName>) -> Self {
        self.peers.push(address.into());
        self
    }

    /// With other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Tells it whom to dial while it runs.
    #[must_use]
    pub fn handle(&self) -> TcpHandle {
        self.handle.clone()
    }
}

/// What the tasks of one transport share.
struct Shared {
    link: Link,
    registry: Registry,
    limits: Limits,
}

impl Transport for Tcp {
    async fn run(self, link: Link) -> io::Result<()> {
        let Self { listener, peers, limits, handle: _handle, mut control } = self;
        let registry = Registry::new(link.id(), limits.connections);
        let shared = Arc::new(Shared { link, registry, limits });
        // Dropping this ends all of them.
        let mut tasks = JoinSet::new();
        let mut dialled: BTreeMap<PeerName, AbortHandle> = BTreeMap::new();
        if let Some(listener) = listener {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            tasks.spawn(listen(Arc::clone(&shared), listener));
        }
        for peer in peers {
            handle_control(&shared, &mut tasks, &mut dialled, Control::Add(peer));
        }
        loop {
            tokio::select! {
                outgoing = shared.link.outgoing() => match outgoing {
                    Some(Outgoing::Frame { to, bytes }) => shared.registry.send(&to, bytes),
                    Some(Outgoing::Close { peer }) => shared.registry.close(&peer),
                    None => break,
                },
                Some(what) = control.recv() => handle_control(&shared, &mut tasks, &mut dialled, what),
                Some(ended) = tasks.join_next() => if let Err(error) = ended && error.is_panic() {
                    return Err(io::Error::other(error));
                }
            }
        }
        shared.registry.close_all();
        // What does not end by itself within this ends with `tasks`.
        timeout(2 * connection::FLUSH + Duration::from_millis(500), shared.registry.empty()).await.unwrap_or_default();
        Ok(())
    }
}

fn handle_control(shared: &Arc<Shared>, tasks: &mut JoinSet<()>, dialled: &mut BTreeMap<PeerName, AbortHandle>, what: Control) {
    match what {
        Control::Add(address) => {
            let task = || tasks.spawn(dial::keep_connected(Arc::clone(shared), address.clone()));
            dialled.entry(address.clone()).or_insert_with(task);
        }
        Control::Remove(address) => {
            if let Some(task) = dialled.remove(&address) {
                // It may be in the middle of a connection.
                task.abort();
                shared.registry.forget(&address);
                shared.link.down(&address, "it was removed");
            }
        }
    }
}

async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let half_open = Arc::new(Semaphore::new(shared.limits.half_open));
    // Dropping this ends them.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&half_open).acquire_owned().await else { return };
        let (mut stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_error) => {
                // No more files, or a connection that went before it was taken: neither is helped by trying at once.
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let name = PeerName::from(from.to_string());
            match connection::meet(&shared, &mut stream, None, name.clone()).await {
                Ok((other, admitted)) => {
                    drop(permit);
                    connection::carry(&shared, stream, other, admitted).await;
                }
                // It is no fault that both have dialled.
                Err(TcpError::AlreadyConnected) => {}
                Err(error) => shared.link.unreachable(&name, error),
            }
        });
    }
}

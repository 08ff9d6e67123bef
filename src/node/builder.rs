//! What a node begins with.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::thread;
#[cfg(feature = "tcp")]
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, broadcast, watch};

use super::driver::{self, Command, Driver};
use super::event::EVENTS_KEPT;
use super::{Inner, Node, NodeError};
use crate::kv::Store;
use crate::replication::{Access, Config, Engine};
use crate::system::{Entropy, SystemEntropy};
#[cfg(feature = "tcp")]
use crate::transport::tcp::{Limits, Tcp};
use crate::transport::{Link, PeerName, Port, Transport};

/// What came from one transport and is not handled yet, in bytes: two of the longest frames.
const ROOM_BYTES: u32 = 32 << 20;

type Run = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;
type Start = Box<dyn FnOnce(Link) -> Run + Send>;

/// What a node begins with. From [`Node::builder`].
#[must_use = "a node does nothing before it is started"]
pub struct NodeBuilder {
    stores: Vec<Store>,
    peers: Vec<(PeerName, Access)>,
    listen: Option<String>,
    transports: Vec<Start>,
    config: Config,
}

impl NodeBuilder {
    pub(super) fn new(store: Store) -> Self {
        Self { stores: vec![store], peers: Vec::new(), listen: None, transports: Vec::new(), config: Config::default() }
    }

    /// Keeps another store in step, too, over the same connections. Of two with the same space the later one counts.
    pub fn store(mut self, store: Store) -> Self {
        self.stores.push(store);
        self
    }

    /// Listens for TCP at an address: a host and a port, 0 for one that the system chooses. Whoever reaches it may read and write what is
    /// replicated.
    #[cfg(feature = "tcp")]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Dials a peer over TCP, at a host and a port, and again whenever the connection is lost.
    #[cfg(feature = "tcp")]
    pub fn peer(mut self, address: impl Into<PeerName>) -> Self {
        self.peers.push((address.into(), Access::Full));
        self
    }

    /// Dials a peer that is given what is here, and from which nothing is taken. That protects from mistakes, not from malice: whoever
    /// reaches a node that listens may dial it as somebody else.
    #[cfg(feature = "tcp")]
    pub fn reader(mut self, address: impl Into<PeerName>) -> Self {
        self.peers.push((address.into(), Access::Reader));
        self
    }

    /// Reaches peers over another transport, too.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transports.push(Box::new(move |link| Box::pin(transport.run(link))));
        self
    }

    /// With other intervals and limits. Peers should agree on [`Config::exchange_every`], about: a connection on which nothing came for
    /// three of them is closed.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Starts it, in the tokio runtime of the caller, which must have its timer and its network enabled, and a thread.
    ///
    /// # Errors
    /// There is no runtime, or the address cannot be listened at. Nothing was started.
    pub async fn start(self) -> Result<Node, NodeError> {
        let runtime = Handle::try_current().map_err(|_none| NodeError::NoRuntime)?;
        let (commands, inbox) = mpsc::channel();
        let mut transports = Vec::new();
        #[cfg(feature = "tcp")]
        let (local_addr, tcp) = {
            let tcp = self.tcp().await?;
            let about = (tcp.local_addr(), tcp.handle());
            // The first of them, so that names of peers are addresses: `peers::DIALLING`.
            let start: Start = Box::new(move |link| Box::pin(tcp.run(link)));
            transports.push(start);
            about
        };
        #[cfg(not(feature = "tcp"))]
        let local_addr = None;
        transports.extend(self.transports);

        let id = random()?;
        let (ports, links): (Vec<Port>, Vec<Link>) = (0..transports.len())
            .map(|transport| {
                let commands = commands.clone();
                Port::new(id, ROOM_BYTES, move |what| {
                    // Nobody there: the node has stopped.
                    commands.send(Command::Link { transport, what }).ok();
                })
            })
            .unzip();
        for store in &self.stores {
            commands.send(driver::attach(&commands, store)).ok();
        }
        for (peer, access) in self.peers {
            commands.send(Command::Know { peer, access }).ok();
        }
        let (tell_events, events) = broadcast::channel(EVENTS_KEPT);
        let (tell_end, ended) = watch::channel(false);
        let engine = Engine::new(self.config, u64::from_le_bytes(random()?));
        let driver = Driver::new(engine, ports, tell_events);
        thread::Builder::new()
            .name("tombolo".to_owned())
            .spawn(move || {
                // Lets go of the stores, then says so.
                driver.run(&inbox);
                tell_end.send_replace(true);
            })
            .map_err(NodeError::Start)?;
        let transports = transports.into_iter().zip(links).enumerate().map(|(transport, (start, link))| {
            let task = runtime.spawn(start(link));
            let (abort, commands) = (task.abort_handle(), commands.clone());
            let watched = runtime.spawn(async move {
                let why = match task.await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(error) => Some(error.to_string()),
                };
                // Nobody there: the node has stopped, as it was to be.
                commands.send(Command::TransportEnded { transport, why }).ok();
            });
            (watched, abort)
        });
        let inner = Inner {
            commands: commands.clone(),
            events,
            ended,
            transports: Mutex::new(transports.collect()),
            local_addr,
            #[cfg(feature = "tcp")]
            tcp,
        };
        Ok(Node { inner: std::sync::Arc::new(inner) })
    }

    #[cfg(feature = "tcp")]
    async fn tcp(&self) -> Result<Tcp, NodeError> {
        let tcp = match &self.listen {
            None => Tcp::dialling(),
            Some(address) => {
                let listened = Tcp::bind(address.as_str()).await;
                listened.map_err(|source| NodeError::Listen { address: address.clone(), source })?
            }
        };
        // Whoever compares often, as tests do, need not be as impatient with a slow network.
        let keep_alive = self.config.exchange_every.max(Duration::from_secs(1));
        let limits = Limits { keep_alive, ..Limits::default() };
        let dialled = self.peers.iter().map(|(peer, _access)| peer.clone());
        Ok(dialled.fold(tcp.limits(limits), Tcp::peer))
    }
}

fn random<const LEN: usize>() -> Result<[u8; LEN], NodeError> {
    let mut bytes = [0; LEN];
    SystemEntropy.fill(&mut bytes).map_err(NodeError::Start)?;
    Ok(bytes)
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("stores", &self.stores.len())
            .field("peers", &self.peers)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

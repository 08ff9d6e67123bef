//! The transport's end of a node, and the node's end of a transport.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, mpsc};

/// Who is at the other end: a short string that the transport makes, as the address is. Shared, not copied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for PeerName {
    fn from(name: T) -> Self {
        Self(name.as_ref().into())
    }
}

impl Borrow<str> for PeerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the way to a peer is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// Each frame arrives once, and in order, or the peer goes down. Otherwise frames may be lost, repeated and reordered.
    pub is_ordered: bool,
    /// How many bytes the node may give out that are not [`sent`](Link::sent) yet.
    pub window: u64,
}

/// What a node wants to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// Send a frame.
    Frame {
        /// To whom.
        to: PeerName,
        /// The whole frame.
        bytes: Vec<u8>,
    },
    /// Send what was given out before, then close the way to a peer.
    Close {
        /// Which one.
        peer: PeerName,
    },
}

/// What a transport tells its node.
#[derive(Debug)]
pub(crate) enum FromLink {
    /// `coming` is the number of this coming of the peer: what is given out for an earlier one must not go to a later one.
    Up {
        peer: PeerName,
        coming: u64,
        channel: Channel,
    },
    Down {
        peer: PeerName,
        why: String,
    },
    Unreachable {
        peer: PeerName,
        why: String,
    },
    Received {
        peer: PeerName,
        bytes: Vec<u8>,
        room: Room,
    },
    Sent {
        peer: PeerName,
        bytes: u64,
    },
}

/// The room that a received frame takes until the node has handled it.
#[derive(Debug)]
pub(crate) struct Room(#[expect(dead_code, reason = "its drop is what matters")] Option<OwnedSemaphorePermit>);

/// The transport's end of a node. Clones are the same end.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    id: [u8; 16],
    tell: Box<dyn Fn(FromLink) + Send + Sync>,
    room: Arc<Semaphore>,
    room_bytes: u32,
    outgoing: AsyncMutex<mpsc::UnboundedReceiver<(u64, Outgoing)>>,
    up: Mutex<Up>,
}

/// The peers that are up. Locked while the node is told, so that what is told of one peer is in order.
#[derive(Debug, Default)]
struct Up {
    peers: BTreeMap<PeerName, Coming>,
    comings: u64,
    /// Frames of peers that were not up.
    strays: u64,
}

/// A peer that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Coming {
    number: u64,
    /// The node has closed it, and hears nothing more of it; the transport is yet to learn that.
    is_closed: bool,
}

impl Link {
    /// Random, and another one for each start of a node: for whoever wants to recognise it, and as a seed.
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.inner.id
    }

    /// There is a way to a peer. If there was one already, that one is gone.
    pub fn up(&self, peer: PeerName, channel: Channel) {
        let mut up = self.inner.up.lock();
        up.comings += 1;
        let number = up.comings;
        let before = up.peers.insert(peer.clone(), Coming { number, is_closed: false });
        if before.is_some_and(|before| !before.is_closed) {
            (self.inner.tell)(FromLink::Down { peer: peer.clone(), why: "it came again".to_owned() });
        }
        (self.inner.tell)(FromLink::Up { peer, coming: number, channel });
    }

    /// The way to a peer is gone. Of one that is not up, or that the node has closed itself, this says nothing.
    pub fn down(&self, peer: &PeerName, why: impl fmt::Display) {
        let mut up = self.inner.up.lock();
        if up.peers.remove(peer).is_some_and(|coming| !coming.is_closed) {
            (self.inner.tell)(FromLink::Down { peer: peer.clone(), why: why.to_string() });
        }
    }

    /// No way to a peer was found, or it was refused: people are told why. A peer that is up stays so.
    pub fn unreachable(&self, peer: &PeerName, why: impl fmt::Display) {
        (self.inner.tell)(FromLink::Unreachable { peer: peer.clone(), why: why.to_string() });
    }

    /// A frame has come. Waits while the node is behind. The frame is dropped if the peer is not up, or goes down meanwhile.
    pub async fn received(&self, peer: &PeerName, bytes: Vec<u8>) {
        /// What an empty frame counts.
        const AT_LEAST: usize = 64;
        let coming = {
            let mut up = self.inner.up.lock();
            let coming = up.peers.get(peer).copied();
            up.strays += u64::from(coming.is_none());
            coming
        };
        if coming.is_none_or(|coming| coming.is_closed) {
            return;
        }
        let needs = u32::try_from(bytes.len().max(AT_LEAST)).unwrap_or(u32::MAX).min(self.inner.room_bytes);
        // Closed: there is no node any more, and nothing to wait for.
        let permit = Arc::clone(&self.inner.room).acquire_many_owned(needs).await.ok();
        let up = self.inner.up.lock();
        if up.peers.get(peer).copied() == coming {
            (self.inner.tell)(FromLink::Received { peer: peer.clone(), bytes, room: Room(permit) });
        }
    }

    /// What is to be done next; `None`: shut down. May be dropped and called again: nothing is lost.
    pub async fn outgoing(&self) -> Option<Outgoing> {
        let mut outgoing = self.inner.outgoing.lock().await;
        loop {
            let (of, what) = outgoing.recv().await?;
            let mut up = self.inner.up.lock();
            let is_of = |peer| up.peers.get(peer).is_some_and(|coming| coming.number == of);
            // Otherwise the peer has gone, and may have come again: that one is not meant.
            match &what {
                Outgoing::Frame { to, .. } if is_of(to) => return Some(what),
                Outgoing::Close { peer } if is_of(peer) => {
                    up.peers.remove(peer);
                    return Some(what);
                }
                Outgoing::Frame { .. } | Outgoing::Close { .. } => {}
            }
        }
    }

    /// Bytes of frames have left, or were lost: there is room for as many again.
    pub fn sent(&self, peer: &PeerName, bytes: u64) {
        let up = self.inner.up.lock();
        if up.peers.contains_key(peer) {
            (self.inner.tell)(FromLink::Sent { peer: peer.clone(), bytes });
        }
    }

    /// How many frames came of peers that were not up.
    pub(crate) fn strays(&self) -> u64 {
        self.inner.up.lock().strays
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("up", &*self.inner.up.lock()).finish_non_exhaustive()
    }
}

/// The node's end of a transport. Without it, [`Link::outgoing`] gives `None` once everything was taken.
#[derive(Debug)]
pub(crate) struct Port {
    outgoing: mpsc::UnboundedSender<(u64, Outgoing)>,
    link: Link,
}

impl Port {
    /// Both ends. `tell` must not wait; frames that were told of and not dropped take no more than about `room_bytes`.
    pub(crate) fn new(id: [u8; 16], room_bytes: u32, tell: impl Fn(FromLink) + Send + Sync + 'static) -> (Self, Link) {
        let (outgoing, given_out) = mpsc::unbounded_channel();
        let inner = Inner {
            id,
            tell: Box::new(tell),
            room: Arc::new(Semaphore::new(room_bytes as usize)),
            room_bytes,
            outgoing: AsyncMutex::new(given_out),
            up: Mutex::default(),
        };
        let link = Link { inner: Arc::new(inner) };
        (Self { outgoing, link: link.clone() }, link)
    }

    /// Gives out a frame for one coming of a peer. Never waits: the window of the channel limits what is under way.
    pub(crate) fn send(&self, to: PeerName, coming: u64, bytes: Vec<u8>) {
        // Nobody there: the transport has ended, and the node is about to hear of it.
        self.outgoing.send((coming, Outgoing::Frame { to, bytes })).ok();
    }

    /// Closes the way to a peer, after what was given out before. Nothing more comes from this coming of it.
    pub(crate) fn close(&self, peer: PeerName, coming: u64) {
        if let Some(up) = self.link.inner.up.lock().peers.get_mut(&peer).filter(|up| up.number == coming) {
            up.is_closed = true;
        }
        self.outgoing.send((coming, Outgoing::Close { peer })).ok();
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Whoever waits for room waits for nobody.
        self.link.inner.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: Channel = Channel { is_ordered: true, window: 100 };

    fn ends(room: u32) -> (Port, Link, mpsc::UnboundedReceiver<FromLink>) {
        let (tell, heard) = mpsc::unbounded_channel();
        let (port, link) = Port::new([1; 16], room, move |what| tell.send(what).unwrap_or_default());
        (port, link, heard)
    }

    #[tokio::test]
    async fn a_frame_waits_while_the_node_is_behind() {
        let (_port, link, mut heard) = ends(1000);
        let peer = PeerName::from("a");
        link.up(peer.clone(), CHANNEL);
        link.received(&peer, vec![0; 900]).await;
        let second = link.received(&peer, vec![0; 900]);
        tokio::pin!(second);
        assert!(futures_are_pending(second.as_mut()).await);
        assert!(matches!(heard.recv().await, Some(FromLink::Up { .. })));
        drop(heard.recv().await);
        second.await;
        assert!(matches!(heard.recv().await, Some(FromLink::Received { .. })));
    }

    async fn futures_are_pending(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn a_frame_that_waited_while_its_peer_went_is_dropped() {
        let (_port, link, mut heard) = ends(1000);
        let peer = PeerName::from("a");
        link.up(peer.clone(), CHANNEL);
        link.received(&peer, vec![0; 1000]).await;
        let second = link.received(&peer, vec![1; 10]);
        tokio::pin!(second);
        assert!(futures_are_pending(second.as_mut()).await);
        link.down(&peer, "it went");
        link.up(peer.clone(), CHANNEL);
        drop((heard.recv().await, heard.recv().await));
        second.await;
        assert!(matches!(heard.recv().await, Some(FromLink::Down { .. })));
        assert!(matches!(heard.recv().await, Some(FromLink::Up { .. })));
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_was_given_out_for_one_coming_of_a_peer_does_not_reach_the_next() {
        let (port, link, mut heard) = ends(1000);
        let peer = PeerName::from("a");
        link.up(peer.clone(), CHANNEL);
        port.send(peer.clone(), 1, vec![1]);
        port.close(peer.clone(), 1);
        link.received(&peer, vec![9]).await;
        link.up(peer.clone(), CHANNEL);
        port.send(peer.clone(), 2, vec![2]);
        assert_eq!(link.outgoing().await, Some(Outgoing::Frame { to: peer.clone(), bytes: vec![2] }));
        link.received(&peer, vec![9]).await;
        // What the node has closed it is told nothing of: neither the frame nor the end.
        for coming in [1, 2] {
            assert!(matches!(heard.recv().await, Some(FromLink::Up { coming: told, .. }) if told == coming));
        }
        assert!(matches!(heard.recv().await, Some(FromLink::Received { .. })));
    }

    #[tokio::test]
    async fn what_was_given_out_comes_before_the_end() {
        let (port, link, _heard) = ends(10);
        link.up("a".into(), CHANNEL);
        port.send("a".into(), 1, vec![1]);
        port.close("a".into(), 1);
        drop(port);
        assert_eq!(link.outgoing().await, Some(Outgoing::Frame { to: "a".into(), bytes: vec![1] }));
        assert_eq!(link.outgoing().await, Some(Outgoing::Close { peer: "a".into() }));
        assert_eq!(link.outgoing().await, None);
    }

    #[tokio::test]
    async fn without_a_node_nothing_waits() {
        let (port, link, _heard) = ends(10);
        let peer = PeerName::from("a");
        link.up(peer.clone(), CHANNEL);
        drop(port);
        for _ in 0..3 {
            link.received(&peer, vec![0; 10]).await;
        }
    }
}

//! Nodes in one process, over a network that fails as it is told to: for tests of applications.
//!
//! ```
//! use tombolo::transport::memory::{Faults, Memory};
//!
//! let network = Memory::new(7, Faults { loss: 50, repetition: 20, reordering: 100 });
//! let (phone, laptop) = (network.join("phone"), network.join("laptop"));
//! network.cut("phone", "laptop");
//! network.heal("phone", "laptop");
//! # let _transports = (phone, laptop);
//! ```
//!
//! A transport of it is given to a node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Channel, Link, Outgoing, PeerName, Transport};

/// How many bytes may be under way from one node to another.
const WINDOW: u64 = 1 << 20;

/// What happens to frames, of each so many in a thousand. Without any of it, each arrives once and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Are lost.
    pub loss: u16,
    /// Arrive twice.
    pub repetition: u16,
    /// Arrive after the one behind them.
    pub reordering: u16,
}

impl Faults {
    const fn are_none(self) -> bool {
        self.loss == 0 && self.repetition == 0 && self.reordering == 0
    }
}

/// A network in this process. Every node that joins is linked to every other one. Clones are the same network.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    faults: Faults,
    random: Rng,
    /// Those whose transport runs.
    members: BTreeMap<PeerName, mpsc::UnboundedSender<Arrival>>,
    /// The pairs that are up, the smaller name first.
    up: BTreeSet<(PeerName, PeerName)>,
    cut: BTreeSet<(PeerName, PeerName)>,
    /// Frames that the next one overtakes: from whom, to whom.
    held: BTreeMap<(PeerName, PeerName), Vec<u8>>,
}

/// What comes to a member. Its own task tells its link, so that all of it stays in order.
#[derive(Debug)]
enum Arrival {
    Up(PeerName),
    Down(PeerName, &'static str),
    Frame { from: PeerName, bytes: Vec<u8>, sent: Option<Sent> },
}

/// Says that a frame has left its sender's hands, when it is dropped: also if it is lost.
#[derive(Debug)]
struct Sent {
    link: Link,
    to: PeerName,
    bytes: u64,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.link.sent(&self.to, self.bytes);
    }
}

impl Memory {
    /// A network without nodes. One seed, one sequence of faults; tasks still run as they like.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        let shared = Shared {
            faults,
            random: Rng::with_seed(seed),
            members: BTreeMap::new(),
            up: BTreeSet::new(),
            cut: BTreeSet::new(),
            held: BTreeMap::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// The transport of a node, which the others see under a name of its own. It is there as soon as it runs.
    #[must_use]
    pub fn join(&self, name: impl Into<PeerName>) -> MemoryTransport {
        MemoryTransport { name: name.into(), network: self.clone() }
    }

    /// Cuts the link between two nodes. Without faults, which is to say with order, both see it; otherwise frames are lost.
    pub fn cut(&self, one: impl Into<PeerName>, other: impl Into<PeerName>) {
        let pair = pair(one.into(), other.into());
        let mut shared = self.shared.lock();
        if shared.faults.are_none() {
            shared.take_down(&pair, "the link is cut");
        }
        shared.cut.insert(pair);
    }

    /// Mends a link, also one that a node has closed.
    pub fn heal(&self, one: impl Into<PeerName>, other: impl Into<PeerName>) {
        let pair = pair(one.into(), other.into());
        let mut shared = self.shared.lock();
        shared.cut.remove(&pair);
        shared.bring_up(pair);
    }
}

fn pair(one: PeerName, other: PeerName) -> (PeerName, PeerName) {
    if one <= other { (one, other) } else { (other, one) }
}

impl Shared {
    fn bring_up(&mut self, pair: (PeerName, PeerName)) {
        let is_cut = self.faults.are_none() && self.cut.contains(&pair);
        let (Some(one), Some(other)) = (self.members.get(&pair.0), self.members.get(&pair.1)) else { return };
        if is_cut || pair.0 == pair.1 || self.up.contains(&pair) {
            return;
        }
        one.send(Arrival::Up(pair.1.clone())).ok();
        other.send(Arrival::Up(pair.0.clone())).ok();
        self.up.insert(pair);
    }

    fn take_down(&mut self, pair: &(PeerName, PeerName), why: &'static str) {
        if !self.up.remove(pair) {
            return;
        }
        for (here, there) in [(&pair.0, &pair.1), (&pair.1, &pair.0)] {
            self.held.remove(&(here.clone(), there.clone()));
            if let Some(member) = self.members.get(here) {
                member.send(Arrival::Down(there.clone(), why)).ok();
            }
        }
    }

    fn enter(&mut self, name: &PeerName) -> mpsc::UnboundedReceiver<Arrival> {
        self.leave(name, "it came again");
        let (arrive, arrivals) = mpsc::unbounded_channel();
        self.members.insert(name.clone(), arrive);
        for other in self.members.keys().cloned().collect::<Vec<_>>() {
            self.bring_up(pair(name.clone(), other));
        }
        arrivals
    }

    fn leave(&mut self, name: &PeerName, why: &'static str) {
        for pair in self.up.iter().filter(|pair| pair.0 == *name || pair.1 == *name).cloned().collect::<Vec<_>>() {
            self.take_down(&pair, why);
        }
        self.members.remove(name);
    }

    fn carry(&mut self, from: &PeerName, to: &PeerName, bytes: Vec<u8>, link: &Link) {
        let pair = pair(from.clone(), to.clone());
        if !self.up.contains(&pair) {
            return;
        }
        let sent = Sent { link: link.clone(), to: to.clone(), bytes: bytes.len() as u64 };
        if self.cut.contains(&pair) || happens(&mut self.random, self.faults.loss) {
            return;
        }
        let way = (from.clone(), to.clone());
        if happens(&mut self.random, self.faults.reordering) && !self.held.contains_key(&way) {
            self.held.insert(way, bytes);
            return;
        }
        let Some(member) = self.members.get(to) else { return };
        let copy = happens(&mut self.random, self.faults.repetition).then(|| bytes.clone());
        let frames = [(Some(bytes), Some(sent)), (copy, None), (self.held.remove(&way), None)];
        for (bytes, sent) in frames {
            if let Some(bytes) = bytes {
                member.send(Arrival::Frame { from: from.clone(), bytes, sent }).ok();
            }
        }
    }
}

/// One node's way into a [`Memory`].
#[derive(Debug)]
pub struct MemoryTransport {
    name: PeerName,
    network: Memory,
}

impl Transport for MemoryTransport {
    async fn run(self, link: Link) -> io::Result<()> {
        let Self { name, network } = self;
        let channel = Channel { is_ordered: network.shared.lock().faults.are_none(), window: WINDOW };
        let mut arrivals = network.shared.lock().enter(&name);
        let member = Membership { name, network };
        let goes_out = async {
            while let Some(outgoing) = link.outgoing().await {
                let mut shared = member.network.shared.lock();
                match outgoing {
                    Outgoing::Frame { to, bytes } => shared.carry(&member.name, &to, bytes, &link),
                    Outgoing::Close { peer } => {
                        shared.take_down(&pair(member.name.clone(), peer), "the peer has closed the link");
                    }
                }
            }
        };
        let comes_in = async {
            while let Some(arrival) = arrivals.recv().await {
                match arrival {
                    Arrival::Up(peer) => link.up(peer, channel),
                    Arrival::Down(peer, why) => link.down(&peer, why),
                    Arrival::Frame { from, bytes, sent } => {
                        link.received(&from, bytes).await;
                        drop(sent);
                    }
                }
            }
        };
        tokio::select! {
            () = goes_out => {}
            () = comes_in => {}
        }
        Ok(())
    }
}

/// Leaves the network when it is dropped: also if the task is.
struct Membership {
    name: PeerName,
    network: Memory,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.network.shared.lock().leave(&self.name, "the peer has left");
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.shared.lock();
        f.debug_struct("Memory").field("members", &shared.members.keys()).field("up", &shared.up).finish_non_exhaustive()
    }
}

/// True so many times in a thousand.
fn happens(random: &mut Rng, per_mille: u16) -> bool {
    random.u16(..1_000) < per_mille
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::conformance;

    #[tokio::test]
    async fn it_is_a_transport() {
        conformance(|| {
            let network = Memory::new(1, Faults::default());
            (network.join("a"), network.join("b"))
        })
        .await;
    }

    #[tokio::test]
    async fn with_faults_it_is_one_without_order() {
        conformance(|| {
            let network = Memory::new(2, Faults { loss: 100, repetition: 100, reordering: 100 });
            (network.join("a"), network.join("b"))
        })
        .await;
    }
}

//! Engines, links between them, and the time that passes: one event after another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use twox_hash::XxHash3_64;

use crate::kv::{Attached, Store};
use crate::laws::Rng;
use crate::replication::{
    Access, Config, Engine, Event, Input, Link as LinkOf, Moment, Output, PeerId, PeerStatus, Replica, Space,
};

use super::counts::{NetCounts, SentCounts};
use super::ledger::Ledger;
use super::link::{Faults, Link, Passage};

/// How long it takes until the ends of an ordered link see that it is broken, in microseconds.
const BREAK_SEEN: u64 = 2_000_000;

/// How long until they try again, at least.
const CONNECT_AGAIN: u64 = 500_000;

/// Nodes that replicate stores over a simulated network. One seed, one run: every event has its place.
pub struct Network {
    now: u64,
    /// What will happen, by when, and of one moment in the order in which it was decided.
    queue: BTreeMap<(u64, u64), What>,
    decided: u64,
    nodes: Vec<Node>,
    links: Vec<Link>,
    config: Config,
    rng: Rng,
    next_peer: u64,
    counts: NetCounts,
    ledger: Option<Ledger>,
    /// Stands for every frame that has arrived, and when.
    trace: u64,
    events: Vec<(usize, Event)>,
}

#[derive(Debug)]
enum What {
    Frame {
        link: usize,
        from: usize,
        peer: PeerId,
        bytes: Vec<u8>,
    },
    Left {
        node: usize,
        peer: PeerId,
        bytes: u64,
    },
    Tick {
        node: usize,
    },
    /// An end sees that a link is broken.
    Broken {
        node: usize,
        peer: PeerId,
    },
    Connect {
        link: usize,
    },
    /// Whatever the driver of the simulation has planned.
    Planned(u64),
}

struct Node {
    /// `None`: it is not running.
    engine: Option<Engine<Attached>>,
    space: Space,
    has_news: Arc<AtomicBool>,
    wakes_at: Option<u64>,
    /// The link of each peer that is up.
    peers: BTreeMap<PeerId, usize>,
    wakes: u64,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A node has handled something: its store may have changed.
    At(usize),
    /// The moment of a plan has come.
    Planned(u64),
    /// Something that no node has noticed.
    Unseen,
}

impl Network {
    /// Without nodes.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            now: 0,
            queue: BTreeMap::new(),
            decided: 0,
            nodes: Vec::new(),
            links: Vec::new(),
            config,
            rng: Rng::new(seed),
            next_peer: 1,
            counts: NetCounts::default(),
            ledger: None,
            trace: 0,
            events: Vec::new(),
        }
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// What went over the links, and what became of it.
    #[must_use]
    pub const fn counts(&self) -> &NetCounts {
        &self.counts
    }

    /// Reads from now on what goes over the links that come up, for [`sent`](Self::sent): that takes memory for each row.
    pub fn count_rows(&mut self) {
        self.ledger.get_or_insert_default();
    }

    /// What went over the links that came up since [`count_rows`](Self::count_rows), and what of it went in vain.
    #[must_use]
    pub fn sent(&self) -> SentCounts {
        self.ledger.as_ref().map(Ledger::counts).unwrap_or_default()
    }

    /// Stands for every frame that has arrived, and when: of one seed, always the same.
    #[must_use]
    pub const fn trace(&self) -> u64 {
        self.trace
    }

    /// What engines have said since the last call, with the node of each.
    pub fn take_events(&mut self) -> Vec<(usize, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Adds a node that replicates a store. Returns its number.
    pub fn add(&mut self, store: &Store) -> usize {
        let node = self.nodes.len();
        let (has_news, peers) = (Arc::default(), BTreeMap::new());
        self.nodes.push(Node { engine: None, space: [0; 16], has_news, wakes_at: None, peers, wakes: 0 });
        self.start(node, store);
        node
    }

    /// Runs a node again, with its store.
    pub fn start(&mut self, node: usize, store: &Store) {
        let seed = self.rng.next_u64();
        let has_news: Arc<AtomicBool> = Arc::default();
        let flag = Arc::clone(&has_news);
        let attached = store.attach(move || flag.store(true, Ordering::Release));
        let mut engine = Engine::new(self.config.clone(), seed);
        let Some(this) = self.nodes.get_mut(node) else { return };
        this.space = attached.space();
        engine.attach(Moment::from_micros(self.now), attached);
        (this.engine, this.has_news) = (Some(engine), has_news);
        let links = self.links.iter().enumerate().filter(|(_no, link)| link.ends.contains(&node)).map(|(no, _link)| no);
        for link in links.collect::<Vec<_>>() {
            self.plan(self.now, What::Connect { link });
        }
    }

    /// Stops a node: its engine is gone, and the store with it, if nobody else has it.
    pub fn stop(&mut self, node: usize) {
        let Some(this) = self.nodes.get_mut(node) else { return };
        this.engine = None;
        this.wakes_at = None;
        for link in std::mem::take(&mut this.peers).into_values() {
            self.break_link(link);
        }
    }

    /// Links two nodes. Returns the number of the link.
    pub fn link(&mut self, one: usize, other: usize, faults: Faults) -> usize {
        let link = self.links.len();
        self.links.push(Link::new([one, other], faults));
        self.plan(self.now, What::Connect { link });
        link
    }

    /// Cuts a link, in one direction or in both. What is under way is lost.
    pub fn cut(&mut self, link: usize, directions: [bool; 2]) {
        let Some(this) = self.links.get_mut(link) else { return };
        this.cut = directions;
        self.counts.cuts += 1;
        if this.faults.is_ordered {
            self.break_link(link);
        }
    }

    /// Mends a link.
    pub fn heal(&mut self, link: usize) {
        let Some(this) = self.links.get_mut(link) else { return };
        this.cut = [false; 2];
        self.plan(self.now, What::Connect { link });
    }

    /// How many links there are.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// The nodes at the ends of a link.
    #[must_use]
    pub fn ends(&self, link: usize) -> [usize; 2] {
        self.links.get(link).map_or([0; 2], |link| link.ends)
    }

    /// The nodes that a node is linked to, whether the links are up or not.
    pub(super) fn neighbours(&self, node: usize) -> impl Iterator<Item = usize> {
        let other = move |[one, other]: [usize; 2]| if one == node { Some(other) } else { (other == node).then_some(one) };
        self.links.iter().filter_map(move |link| other(link.ends))
    }

    /// Lets [`advance`](Self::advance) return a number of the caller's, when the time has come.
    pub fn plan_at(&mut self, at: u64, number: u64) {
        self.plan(at, What::Planned(number));
    }

    /// How a node stands with its peers.
    #[must_use]
    pub fn status(&self, node: usize) -> Vec<PeerStatus> {
        let engine = self.nodes.get(node).and_then(|node| node.engine.as_ref());
        engine.map(|engine| engine.status().collect()).unwrap_or_default()
    }

    /// How often nodes were woken by the clock alone.
    #[must_use]
    pub fn wakes(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |node| node.wakes)
    }

    /// The store of a node has committed something.
    pub fn committed(&mut self, node: usize) {
        let Some(this) = self.nodes.get_mut(node) else { return };
        if this.has_news.swap(false, Ordering::AcqRel) {
            let space = this.space;
            self.handle(node, Input::Changed { space });
        }
    }

    /// The next event; `None`: nothing will ever happen.
    pub fn advance(&mut self) -> Option<Happened> {
        let ((at, _), what) = self.queue.pop_first()?;
        self.now = self.now.max(at);
        Some(self.happen(what))
    }

    /// Runs until a moment. What was planned by number is passed over.
    pub fn run_until(&mut self, moment: u64) {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= moment) {
            self.advance();
        }
        self.now = self.now.max(moment);
    }

    fn plan(&mut self, at: u64, what: What) {
        self.decided += 1;
        self.queue.insert((at, self.decided), what);
    }

    fn happen(&mut self, what: What) -> Happened {
        match what {
            What::Planned(number) => Happened::Planned(number),
            What::Connect { link } => {
                self.connect(link);
                Happened::Unseen
            }
            What::Tick { node } => {
                let now = self.now;
                let Some(this) = self.nodes.get_mut(node).filter(|node| node.wakes_at == Some(now)) else {
                    return Happened::Unseen;
                };
                this.wakes_at = None;
                this.wakes += 1;
                self.handle(node, Input::Tick);
                Happened::At(node)
            }
            What::Left { node, peer, bytes } => {
                self.handle(node, Input::Sent { peer, bytes });
                Happened::At(node)
            }
            What::Broken { node, peer } => {
                if self.nodes.get_mut(node).and_then(|node| node.peers.remove(&peer)).is_none() {
                    return Happened::Unseen;
                }
                self.handle(node, Input::Down { peer });
                Happened::At(node)
            }
            What::Frame { link, from, peer, bytes } => {
                let Some(this) = self.links.get(link) else { return Happened::Unseen };
                let to = this.node_at(1 - from);
                if this.up != Some(peer) || this.cut.get(from) == Some(&true) {
                    self.counts.cut_off += 1;
                    return Happened::Unseen;
                }
                self.counts.delivered += 1;
                self.trace = XxHash3_64::oneshot_with_seed(self.trace ^ self.now, &bytes);
                self.handle(to, Input::Received { peer, frame: bytes });
                Happened::At(to)
            }
        }
    }

    fn connect(&mut self, link: usize) {
        let Some(this) = self.links.get(link) else { return };
        let is_cut = this.cut.iter().any(|cut| *cut) && this.faults.is_ordered;
        let runs = |node: &usize| self.nodes.get(*node).is_some_and(|node| node.engine.is_some());
        if is_cut || this.up.is_some() || !this.ends.iter().all(runs) {
            return;
        }
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let (ends, is_ordered, window) = (this.ends, this.faults.is_ordered, this.faults.window);
        if let Some(this) = self.links.get_mut(link) {
            this.up = Some(peer);
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.opened(link, is_ordered);
        }
        for node in ends {
            if let Some(node) = self.nodes.get_mut(node) {
                node.peers.insert(peer, link);
            }
            self.handle(node, Input::Up { peer, link: LinkOf { is_ordered, window, access: Access::Full } });
        }
    }

    /// An ordered link is broken: each end sees it after a while.
    fn break_link(&mut self, link: usize) {
        let Some(this) = self.links.get_mut(link) else { return };
        let Some(peer) = this.up.take() else { return };
        let (ends, again) = (this.ends, self.now + BREAK_SEEN + CONNECT_AGAIN);
        for node in ends {
            let at = self.now + self.rng.below(BREAK_SEEN);
            self.plan(at, What::Broken { node, peer });
        }
        let again = again + self.rng.below(CONNECT_AGAIN);
        self.plan(again, What::Connect { link });
    }

    /// A node handles something, and whatever it wants to be done is done.
    fn handle(&mut self, node: usize, input: Input) {
        let moment = Moment::from_micros(self.now);
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Some(engine) = self.nodes.get_mut(node).and_then(|node| node.engine.as_mut()) else { return };
            engine.handle(moment, input);
            loop {
                let Some(engine) = self.nodes.get_mut(node).and_then(|node| node.engine.as_mut()) else { return };
                match engine.poll() {
                    Output::Send { to, frame } => self.send(node, to, frame),
                    Output::Close { peer } => {
                        if let Some(link) = self.nodes.get_mut(node).and_then(|node| node.peers.remove(&peer)) {
                            self.break_link(link);
                        }
                    }
                    Output::Event(event) => self.events.push((node, event)),
                    Output::WaitUntil(at) => {
                        self.wake(node, at.map(Moment::as_micros));
                        break;
                    }
                }
            }
            // A merge of the engine's own is told, too.
            let Some(this) = self.nodes.get_mut(node) else { return };
            if this.has_news.swap(false, Ordering::AcqRel) {
                inputs.push(Input::Changed { space: this.space });
            }
        }
    }

    fn wake(&mut self, node: usize, at: Option<u64>) {
        let at = at.map(|at| at.max(self.now));
        let Some(this) = self.nodes.get_mut(node).filter(|node| node.wakes_at != at) else { return };
        this.wakes_at = at;
        if let Some(at) = at {
            self.plan(at, What::Tick { node });
        }
    }

    fn send(&mut self, node: usize, peer: PeerId, bytes: Vec<u8>) {
        let Some(link) = self.nodes.get(node).and_then(|node| node.peers.get(&peer)).copied() else { return };
        let Some(this) = self.links.get_mut(link) else { return };
        if this.up != Some(peer) {
            // It is broken, and this end has not seen it: nothing leaves, so there is no room for more.
            self.counts.cut_off += 1;
            return;
        }
        let (from, len) = (this.side_of(node), bytes.len() as u64);
        let Passage { arrives, has_left } = this.send(from, self.now, len, &mut self.rng);
        self.counts.sent += 1;
        self.counts.bytes += len;
        if let Some(ledger) = &mut self.ledger {
            ledger.sent(link, from, &bytes);
        }
        match arrives.len() {
            0 => self.counts.lost += 1,
            1 => {}
            _more => self.counts.repeated += 1,
        }
        for at in arrives {
            self.plan(at, What::Frame { link, from, peer, bytes: bytes.clone() });
        }
        self.plan(has_left, What::Left { node, peer, bytes: len });
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("now", &self.now).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

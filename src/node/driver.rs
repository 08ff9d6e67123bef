//! Runs the engine: what happens goes in, what is to be done is done. On a thread of its own, since a store may wait for its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use tokio::sync::{broadcast, oneshot};

use super::clock::Clock;
use super::event::NodeEvent;
use super::peers::{Peers, Place, Record};
use super::status::{NodeStatus, PeerState, PeerStatus, SpaceStatus, StoreStatus};
use super::wait::{For, Waiter};
use crate::causal::VersionVector;
use crate::kv::{Attached, SpaceId, Store};
use crate::replication::{Access, Engine, Event, Fault, Input, Link, Moment, Output, PeerId, Replica, Space};
use crate::transport::{FromLink, PeerName, Port};

/// What the driver is told.
#[derive(Debug)]
pub(super) enum Command {
    Link {
        transport: usize,
        what: FromLink,
    },
    Attach {
        number: u64,
        store: Store,
        attached: Attached,
    },
    Changed {
        number: u64,
    },
    Know {
        peer: PeerName,
        access: Access,
    },
    #[cfg(feature = "tcp")]
    Forget {
        peer: PeerName,
    },
    Status(oneshot::Sender<NodeStatus>),
    Wait(Waiter),
    TransportEnded {
        transport: usize,
        why: Option<String>,
    },
    Stop,
}

/// Attaches a store from now on: every commit after this call goes to the peers.
pub(super) fn attach(commands: &Sender<Command>, store: &Store) -> Command {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let commands = commands.clone();
    let attached = store.attach(move || {
        // Nobody there: the node has stopped.
        commands.send(Command::Changed { number }).ok();
    });
    Command::Attach { number, store: store.clone(), attached }
}

/// A store that is replicated.
struct Kept {
    store: Store,
    /// Of its wake-ups.
    number: u64,
    last_error: Option<String>,
    has_failed: bool,
}

pub(super) struct Driver {
    engine: Engine<Attached>,
    clock: Clock,
    /// The transports, `None` once one has ended.
    ports: Vec<Option<Port>>,
    stores: BTreeMap<Space, Kept>,
    peers: Peers,
    waiters: Vec<Waiter>,
    events: broadcast::Sender<NodeEvent>,
}

impl Driver {
    pub(super) fn new(engine: Engine<Attached>, ports: Vec<Port>, events: broadcast::Sender<NodeEvent>) -> Self {
        Self {
            engine,
            clock: Clock::new(),
            ports: ports.into_iter().map(Some).collect(),
            stores: BTreeMap::new(),
            peers: Peers::default(),
            waiters: Vec::new(),
            events,
        }
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let until = self.drain();
            self.tell_waiters();
            let command = match until {
                None => commands.recv().map_err(|_gone| RecvTimeoutError::Disconnected),
                Some(at) => commands.recv_timeout(self.clock.until(at)),
            };
            match command {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => self.engine.handle(self.clock.now(), Input::Tick),
            }
        }
        self.say_goodbye();
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Link { transport, what } => self.hear(transport, what),
            Command::Attach { number, store, attached } => {
                let space = attached.space();
                self.engine.attach(self.clock.now(), attached);
                self.stores.insert(space, Kept { store, number, last_error: None, has_failed: false });
                // It may have committed something before its number was known here.
                self.input(Input::Changed { space });
            }
            Command::Changed { number } => {
                if let Some(space) =
                    self.stores.iter().find(|(_space, kept)| kept.number == number).map(|(space, _kept)| *space)
                {
                    self.input(Input::Changed { space });
                }
            }
            Command::Know { peer, access } => {
                if let Some(link) = self.peers.know(peer, access) {
                    self.close(link, "what is exchanged with it has changed");
                }
            }
            #[cfg(feature = "tcp")]
            Command::Forget { peer } => self.peers.forget(peer),
            // Nobody there: whoever asked does not wait any more.
            Command::Status(tell) => tell.send(self.status()).unwrap_or_default(),
            Command::Wait(waiter) => self.waiters.push(waiter),
            Command::TransportEnded { transport, why } => self.transport_ended(transport, why),
            // The loop has seen it.
            Command::Stop => {}
        }
    }

    fn hear(&mut self, transport: usize, what: FromLink) {
        match what {
            FromLink::Up { peer, coming, channel } => {
                let (link, access) = self.peers.up((transport, peer.clone()), coming);
                self.tell(NodeEvent::Up { peer });
                let channel = Link { is_ordered: channel.is_ordered, window: channel.window, access };
                self.input(Input::Up { peer: link, link: channel });
            }
            FromLink::Down { peer, why } => self.down(&(transport, peer), why),
            FromLink::Unreachable { peer, why } => {
                let place = (transport, peer);
                self.peers.unreachable(&place, &why);
                self.tell(NodeEvent::Unreachable { peer: place.1, why });
            }
            FromLink::Received { peer, bytes, room } => {
                let now = self.clock.now();
                if let Some((link, record)) = self.peers.up_at(&(transport, peer)) {
                    record.bytes_in += bytes.len() as u64;
                    record.last_contact = Some(now);
                    self.input(Input::Received { peer: link, frame: bytes });
                }
                // Only now, that it is handled: until then others wait.
                drop(room);
            }
            FromLink::Sent { peer, bytes } => {
                if let Some((link, _record)) = self.peers.up_at(&(transport, peer)) {
                    self.input(Input::Sent { peer: link, bytes });
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(self.clock.now(), input);
    }

    /// Does what is to be done. Returns until when there is nothing more.
    fn drain(&mut self) -> Option<Moment> {
        let mut cut_off = None;
        loop {
            match self.engine.poll() {
                Output::Send { to, frame } => {
                    if let Some(((transport, name), record)) = self.peers.of_link(to) {
                        record.bytes_out += frame.len() as u64;
                        if let Some(Some(port)) = self.ports.get(*transport) {
                            port.send(name.clone(), record.coming, frame);
                        }
                    }
                }
                Output::Close { peer } => self.close(peer, cut_off.take().as_deref().unwrap_or("it was cut off")),
                Output::Event(event) => {
                    if let Event::CutOff { why, .. } = &event {
                        cut_off = Some(format!("it was cut off: {why}"));
                    }
                    self.pass_on(event);
                }
                Output::WaitUntil(until) => return until,
            }
        }
    }

    /// Closes a link from this side.
    fn close(&mut self, link: PeerId, why: &str) {
        let Some((place, record)) = self.peers.of_link(link) else { return };
        let (place, coming) = (place.clone(), record.coming);
        if let Some(Some(port)) = self.ports.get(place.0) {
            port.close(place.1.clone(), coming);
        }
        self.down(&place, why.to_owned());
    }

    fn down(&mut self, place: &Place, why: String) {
        if let Some(link) = self.peers.down(place, &why) {
            self.input(Input::Down { peer: link });
            self.tell(NodeEvent::Down { peer: place.1.clone(), why });
        }
    }

    fn transport_ended(&mut self, transport: usize, why: Option<String>) {
        if let Some(port) = self.ports.get_mut(transport) {
            *port = None;
        }
        let why = why.unwrap_or_else(|| "it ended by itself".to_owned());
        for place in self.peers.up_of(transport) {
            self.down(&place, why.clone());
        }
        self.tell(NodeEvent::TransportEnded { why });
    }

    fn pass_on(&mut self, event: Event) {
        let name = |peers: &Peers, link| peers.place(link).map(|(_transport, name)| name.clone());
        let told = match event {
            Event::Met { peer, space, replica } => {
                name(&self.peers, peer).map(|peer| NodeEvent::Met { peer, space: SpaceId::from_bytes(space), replica })
            }
            Event::InStep { peer, space } => {
                name(&self.peers, peer).map(|peer| NodeEvent::InStep { peer, space: SpaceId::from_bytes(space) })
            }
            Event::Diverged { peer, space } => {
                name(&self.peers, peer).map(|peer| NodeEvent::Diverged { peer, space: SpaceId::from_bytes(space) })
            }
            Event::CutOff { peer, code, why } => name(&self.peers, peer).map(|peer| NodeEvent::CutOff { peer, code, why }),
            Event::Left { peer, space, code, why } => {
                name(&self.peers, peer).map(|peer| NodeEvent::Left { peer, space: SpaceId::from_bytes(space), code, why })
            }
            Event::Trouble { space, fault } => {
                if let Some(kept) = self.stores.get_mut(&space) {
                    kept.last_error = Some(fault.to_string());
                    kept.has_failed |= matches!(fault, Fault::Failed(_));
                }
                Some(NodeEvent::Trouble { space: SpaceId::from_bytes(space), fault })
            }
        };
        if let Some(told) = told {
            self.tell(told);
        }
    }

    fn tell(&self, event: NodeEvent) {
        // Nobody listens.
        self.events.send(event).unwrap_or_default();
    }

    fn tell_waiters(&mut self) {
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.retain(|waiter| !waiter.tell.is_closed());
        for waiter in waiters {
            if self.has_come(&waiter) {
                waiter.tell.send(()).unwrap_or_default();
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    fn has_come(&self, waiter: &Waiter) -> bool {
        match waiter.what {
            For::Here => self.stores.values().any(|kept| is_here(&kept.store, &waiter.version)),
            // A version is of one space: replicas of another are others.
            For::Peers(ack) => self.stores.iter().any(|(space, kept)| {
                let have = self.engine.peers_with(*space, &waiter.version);
                is_here(&kept.store, &waiter.version) && ack.is_met(have.len(), self.known(*space))
            }),
        }
    }

    /// How many peers may keep a space: those that are dialled, and those that do.
    fn known(&self, space: Space) -> usize {
        let met = self.engine.status().filter(|status| status.space == space && status.is_met);
        let met: BTreeSet<PeerId> = met.map(|status| status.peer).collect();
        let counts = |record: &Record| record.is_dialled || record.link.is_some_and(|link| met.contains(&link));
        self.peers.iter().filter(|(_place, record)| counts(record)).count()
    }

    fn status(&self) -> NodeStatus {
        let now = self.clock.now();
        let mut spaces: BTreeMap<PeerId, Vec<SpaceStatus>> = BTreeMap::new();
        for status in self.engine.status() {
            spaces.entry(status.peer).or_default().push(SpaceStatus {
                space: SpaceId::from_bytes(status.space),
                is_met: status.is_met,
                replica: status.replica,
                declines: status.declines,
                lacks: status.lacks,
                is_ahead: status.is_ahead,
            });
        }
        let peer = |((_transport, name), record): (&Place, &Record)| PeerStatus {
            name: name.clone(),
            state: match (record.link, &record.last_error) {
                (Some(_link), _) => PeerState::Up,
                (None, None) => PeerState::Connecting,
                (None, Some(_error)) => PeerState::Down,
            },
            is_dialled: record.is_dialled,
            access: record.access,
            last_contact: record.last_contact.map(|at| now.since(at)),
            bytes_out: record.bytes_out,
            bytes_in: record.bytes_in,
            last_error: record.last_error.clone(),
            spaces: record.link.and_then(|link| spaces.get(&link).cloned()).unwrap_or_default(),
        };
        let store = |(space, kept): (&Space, &Kept)| StoreStatus {
            space: SpaceId::from_bytes(*space),
            has_failed: kept.has_failed,
            last_error: kept.last_error.clone(),
        };
        NodeStatus { stores: self.stores.iter().map(store).collect(), peers: self.peers.iter().map(peer).collect() }
    }

    /// Leaves every space, so that peers are told. What they lack, they ask others for, or this node when it is back.
    fn say_goodbye(&mut self) {
        for space in self.stores.keys().copied().collect::<Vec<_>>() {
            self.engine.detach(self.clock.now(), space);
        }
        self.drain();
    }
}

/// Whether a store has everything up to a version. One that cannot say so has nothing.
fn is_here(store: &Store, version: &VersionVector) -> bool {
    store.version().is_ok_and(|here| here.covers(version))
}

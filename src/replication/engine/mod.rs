//! The engine: one state machine for all stores and all peers.
//!
//! | file | what |
//! |---|---|
//! | `hello` | how peers stand, compared now and then |
//! | `ask` | what is missing here: who is asked for it |
//! | `receive` | what comes of that: the pieces of an answer, and what is learnt from it |
//! | `late` | answers that do not come |
//! | `answer` | what is missing there |
//! | `push` | transactions on their way, early ones, and the tree that they go along |
//! | `have` | telling peers what is here |
//! | `send` | whose turn it is to be sent something |
//! | `session`, `waiting`, `timers` | what is remembered |
//! | `status` | what is told of it |

mod answer;
mod ask;
mod have;
mod hello;
mod late;
mod push;
mod receive;
mod send;
mod session;
mod status;
mod timers;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use crate::causal::ReplicaId;

use super::config::{Config, Moment};
use super::io::{Event, Input, Output, PeerId, Space};
use super::message::{ByeCode, Have, Message};
use super::replica::{Fault, Replica, Summary};

use answer::Kept;
use late::Partial;
use send::Bucket;
use session::{Peer, Session};
use timers::Timers;
use waiting::Waiting;

/// Replicates stores: takes what happens, and says what is to be done. It does no IO but through [`Replica`], reads no clock, and
/// owns no thread: one list of inputs, one list of outputs.
///
/// **After each [`handle`](Self::handle), call [`poll`](Self::poll) until it says until when to wait.**
///
/// ```
/// use tombolo::Store;
/// use tombolo::replication::{Access, Config, Engine, Input, Link, Moment, Output, PeerId};
///
/// let stores = [Store::in_memory(), Store::in_memory()];
/// let mut engines = [1, 2].map(|seed| Engine::new(Config::default(), seed));
/// for (engine, store) in engines.iter_mut().zip(&stores) {
///     engine.attach(Moment::default(), store.attach(|| ()));
/// }
/// stores[0].counter("visits").add(2)?;
/// stores[1].counter("visits").add(3)?;
///
/// // The loop of every driver. Here the only link is a list, and no time passes.
/// let link = Link { is_ordered: true, window: 1 << 20, access: Access::Full };
/// let mut inputs: Vec<_> = [0, 1].map(|at| (at, Input::Up { peer: PeerId(1), link })).into();
/// while let Some((at, input)) = inputs.pop() {
///     engines[at].handle(Moment::default(), input);
///     loop {
///         match engines[at].poll() {
///             Output::Send { frame, .. } => inputs.insert(0, (1 - at, Input::Received { peer: PeerId(1), frame })),
///             Output::Close { peer } => panic!("{peer} is cut off"),
///             Output::Event(event) => println!("{event:?}"),
///             Output::WaitUntil(_moment) => break,
///         }
///     }
/// }
/// assert_eq!(stores[0].digest()?, stores[1].digest()?);
/// # Ok::<(), tombolo::Error>(())
/// ```
///
/// What a driver owes: moments that never go back; [`Input::Tick`] when the time of [`Output::WaitUntil`] has come;
/// [`Input::Changed`] when a store calls its wake-up; [`Input::Sent`] for what was taken off its hands, or nothing more comes for
/// that link; [`Input::Down`] when a link that is ordered has lost anything. It may call at any time with anything else.
///
/// What it gets: each peer's bytes under way and waiting are limited by [`Config`] and the link's window; a peer that sends what is
/// malformed is cut off, and the others go on; a store that fails is left, and the others go on. Dropping it loses nothing: what was
/// written is in the stores.
pub struct Engine<R> {
    config: Config,
    random: fastrand::Rng,
    now: Moment,
    stores: BTreeMap<Space, Local<R>>,
    peers: BTreeMap<PeerId, Peer>,
    timers: Timers<Timer>,
    ready: VecDeque<Output>,
    /// The peer that was sent something last.
    turn: Option<PeerId>,
    bucket: Bucket,
    /// There may be peers now that a store's transactions are pushed to, or none any more.
    may_go_live: bool,
}

/// No pause is shorter, whatever the configuration says.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// A store, and what is known of it.
#[derive(Debug)]
struct Local<R> {
    replica: R,
    summary: Summary,
    /// The digests are those of a version before.
    is_stale: bool,
    /// There are peers to push to.
    is_live: bool,
    /// It takes nothing: it was opened for reading only.
    takes_nothing: bool,
    waiting: Waiting,
    /// From whom pushed transactions came first, of the newest ones.
    first_from: BTreeMap<(ReplicaId, u64), PeerId>,
    first_order: VecDeque<(ReplicaId, u64)>,
    /// Who is asked, and expected to answer soon: nobody else is asked meanwhile.
    asked: Option<PeerId>,
    /// What has come of an answer that was cut short.
    partial: Option<Partial>,
    /// Answers that were cut short.
    kept: VecDeque<Kept>,
    next_pull: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Say how a store stands.
    Exchange(PeerId, Space),
    /// Tell what is here.
    Have(PeerId, Space),
    /// Transactions have waited for others to go with.
    Push(PeerId, Space),
    /// An answer makes no progress.
    Answer(PeerId, Space),
    /// See what is missing, and ask for it.
    Repair(Space),
    /// What is kept for a peer that was cut off is no longer worth it.
    Forget(Space),
}

impl Timer {
    const fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Exchange(peer, _) | Self::Have(peer, _) | Self::Push(peer, _) | Self::Answer(peer, _) => Some(*peer),
            Self::Repair(_) | Self::Forget(_) => None,
        }
    }

    const fn space(&self) -> Space {
        match self {
            Self::Exchange(_, space)
            | Self::Have(_, space)
            | Self::Push(_, space)
            | Self::Answer(_, space)
            | Self::Repair(space)
            | Self::Forget(space) => *space,
        }
    }
}

impl<R: Replica> Engine<R> {
    /// An engine without stores and peers. `seed` spreads what would otherwise happen everywhere at once: take a random one for
    /// each process, or a fixed one to see the same run again.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let bucket = Bucket::new(config.answer_rate);
        Self {
            config,
            random: fastrand::Rng::with_seed(seed),
            now: Moment::default(),
            stores: BTreeMap::new(),
            peers: BTreeMap::new(),
            timers: Timers::new(),
            ready: VecDeque::new(),
            turn: None,
            bucket,
            may_go_live: false,
        }
    }

    /// Replicates a store from now on. One that has the space of another takes its place.
    pub fn attach(&mut self, now: Moment, replica: R) {
        self.now = self.now.max(now);
        let space = replica.space();
        self.detach(now, space);
        let local = Local {
            replica,
            summary: Summary::default(),
            is_stale: true,
            is_live: false,
            takes_nothing: false,
            waiting: Waiting::default(),
            first_from: BTreeMap::new(),
            first_order: VecDeque::new(),
            asked: None,
            partial: None,
            kept: VecDeque::new(),
            next_pull: self.random.u64(..) >> 40,
        };
        self.stores.insert(space, local);
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.greet(peer, space);
        }
    }

    /// Replicates a store no longer. Peers are told.
    pub fn detach(&mut self, now: Moment, space: Space) -> Option<R> {
        self.now = self.now.max(now);
        let local = self.stores.remove(&space)?;
        self.timers.clear_all(|timer| timer.space() == space);
        for peer in self.peers.values_mut() {
            if peer.sessions.remove(&space).is_some() {
                peer.control.retain(|(of, _message)| *of != space);
                peer.control.push_back((space, Message::Bye { code: ByeCode::Leaving, text: String::new() }));
            }
        }
        Some(local.replica)
    }

    /// Takes what has happened. A moment before that of an earlier call counts as that.
    pub fn handle(&mut self, now: Moment, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Up { peer, link } => {
                self.forget_peer(peer);
                self.peers.insert(peer, Peer::new(link, self.now));
                for space in self.stores.keys().copied().collect::<Vec<_>>() {
                    self.greet(peer, space);
                }
            }
            Input::Down { peer } => self.forget_peer(peer),
            Input::Received { peer, frame } => self.received(peer, &frame),
            Input::Sent { peer, bytes } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    let window = i64::try_from(peer.link.window).unwrap_or(i64::MAX);
                    peer.credit = peer.credit.saturating_add_unsigned(bytes).min(window);
                }
            }
            Input::Changed { space } => self.changed(space),
            Input::Tick => {}
        }
        while let Some(timer) = self.timers.due(self.now) {
            self.time_has_come(timer);
        }
        if std::mem::take(&mut self.may_go_live) {
            self.go_live();
        }
    }

    /// Tells each store whether its transactions are pushed to somebody.
    fn go_live(&mut self) {
        for (space, local) in &mut self.stores {
            let is_live =
                |peer: &Peer| peer.sessions.get(space).is_some_and(|session| session.is_compared && !session.takes_nothing);
            let is_live = self.peers.values().any(is_live);
            if local.is_live != is_live {
                local.is_live = is_live;
                local.replica.set_live(is_live);
            }
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Output {
        if let Some(output) = self.ready.pop_front() {
            return output;
        }
        match self.next_frame() {
            Some((to, frame)) => Output::Send { to, frame },
            // Sending may have found that a store fails.
            None => match self.ready.pop_front() {
                Some(output) => output,
                None => Output::WaitUntil(self.timers.next().into_iter().chain(self.bucket_wait()).min()),
            },
        }
    }

    fn received(&mut self, from: PeerId, frame: &[u8]) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.last_heard = now;
        peer.received.frames += 1;
        peer.received.bytes += frame.len() as u64;
        let named = match peer.decoder.frame(frame) {
            Ok(named) => named,
            Err(error) => {
                return self.cut_off(
                    from,
                    ByeCode::Malformed,
                    format!("a frame that cannot be read: {} (at byte {})", error.what, error.at),
                );
            }
        };
        for message in named.messages {
            // Any of them may have cut the peer off, or found that the store fails.
            if !self.stores.contains_key(&named.space) {
                return;
            }
            let Some(peer) = self.peers.get(&from) else { return };
            if matches!(message, Message::Hello(_)) && !peer.sessions.contains_key(&named.space) {
                // It had said goodbye, and keeps the space again.
                self.greet(from, named.space);
            }
            let Some(session) = self.peers.get(&from).and_then(|peer| peer.sessions.get(&named.space)) else { return };
            if !session.is_met && !matches!(message, Message::Hello(_) | Message::Pull(_) | Message::Bye { .. }) {
                continue;
            }
            match message {
                Message::Hello(hello) => self.hear_hello(from, named.space, &hello),
                Message::Pull(pull) => self.hear_pull(from, named.space, pull),
                Message::Pages(of) => self.hear_pages(from, named.space, &of),
                Message::Batch(batch) => self.hear_batch(from, named.space, batch),
                Message::Push(push) => self.hear_push(from, named.space, push),
                Message::Have(have) => self.hear_have(from, named.space, &have),
                Message::Bye { code, text } => {
                    self.forget_session(from, named.space);
                    self.ready.push_back(Output::Event(Event::Left { peer: from, space: named.space, code, why: text }));
                }
            }
        }
    }

    fn time_has_come(&mut self, timer: Timer) {
        match timer {
            Timer::Exchange(peer, space) => self.exchange(peer, space),
            Timer::Have(peer, space) => {
                if let Some(session) = self.session(peer, space) {
                    session.owes_have = true;
                }
            }
            Timer::Push(peer, space) => {
                if let Some(session) = self.session(peer, space) {
                    session.push_at = None;
                }
            }
            Timer::Answer(peer, space) => self.answer_is_late(peer, space),
            Timer::Repair(space) => self.repair(space),
            Timer::Forget(space) => self.forget_kept(space),
        }
    }

    fn session(&mut self, peer: PeerId, space: Space) -> Option<&mut Session> {
        self.peers.get_mut(&peer)?.sessions.get_mut(&space)
    }

    fn say(&mut self, to: PeerId, space: Space, message: Message) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.control.push_back((space, message));
        }
    }

    /// Reads how a store stands, if that may have changed. Returns whether it does not fail.
    fn refresh(&mut self, space: Space) -> bool {
        let Some(local) = self.stores.get_mut(&space) else { return false };
        if !local.is_stale {
            return true;
        }
        match local.replica.summary() {
            Ok(summary) => {
                local.summary = summary;
                local.is_stale = false;
                true
            }
            Err(fault) => {
                self.trouble(space, fault);
                false
            }
        }
    }

    /// A store did not do what it was asked for.
    fn trouble(&mut self, space: Space, fault: Fault) {
        let has_failed = matches!(fault, Fault::Failed(_));
        let why = fault.to_string();
        self.ready.push_back(Output::Event(Event::Trouble { space, fault }));
        if has_failed {
            self.stores.remove(&space);
            self.timers.clear_all(|timer| timer.space() == space);
            for peer in self.peers.values_mut() {
                if peer.sessions.remove(&space).is_some() {
                    peer.control.retain(|(of, _message)| *of != space);
                    peer.control.push_back((space, Message::Bye { code: ByeCode::Failed, text: why.clone() }));
                }
            }
        }
    }

    /// The peer is at fault: it is told, and its link closed.
    fn cut_off(&mut self, id: PeerId, code: ByeCode, why: String) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let space = peer.sessions.keys().next().copied().unwrap_or_default();
        let mut frame = peer.encoder.frame(space);
        frame.message(&Message::Bye { code, text: why.clone() });
        let frame = frame.into_bytes();
        self.ready.push_back(Output::Send { to: id, frame });
        self.ready.push_back(Output::Event(Event::CutOff { peer: id, code, why }));
        self.ready.push_back(Output::Close { peer: id });
        self.forget_peer(id);
    }

    fn forget_peer(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        for space in peer.sessions.keys().copied().collect::<Vec<_>>() {
            self.forget_session(id, space);
        }
        self.peers.remove(&id);
        self.timers.clear_all(|timer| timer.peer() == Some(id));
    }

    fn forget_session(&mut self, id: PeerId, space: Space) {
        let Some(session) = self.peers.get_mut(&id).and_then(|peer| peer.sessions.remove(&space)) else { return };
        self.timers.clear_all(|timer| timer.peer() == Some(id) && timer.space() == space);
        self.may_go_live = true;
        self.keep_what_was_cut_short(space, session);
        // What came over this link comes over others now.
        for (other, peer) in &mut self.peers {
            if let Some(session) = peer.sessions.get_mut(&space).filter(|session| *other != id && !session.declined.is_empty())
            {
                session.declined.clear();
                peer.control.push_back((space, Message::Have(Have { accepts_all: true, ..Have::default() })));
            }
        }
        let Some(local) = self.stores.get_mut(&space) else { return };
        if local.asked == Some(id) {
            local.asked = None;
        }
        self.timers.set_by(Timer::Repair(space), self.now);
    }
}

impl<R> fmt::Debug for Engine<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("stores", &self.stores.len()).field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

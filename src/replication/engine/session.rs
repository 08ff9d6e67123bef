//! What is known of one peer and one store, and what waits to be said to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::causal::{ReplicaId, VersionVector};
use crate::replication::config::Moment;
use crate::replication::io::{Link, Space, Traffic};
use crate::replication::message::{AnswerId, Live, Message, Push};
use crate::replication::spool::Spool;
use crate::replication::wire::{Decoder, Encoder};

/// A link to a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) link: Link,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    /// How many bytes may be given out; below zero after a frame that was larger.
    pub(super) credit: i64,
    /// What is said before anything else.
    pub(super) control: VecDeque<(Space, Message)>,
    pub(super) sessions: BTreeMap<Space, Session>,
    /// The store whose turn it is.
    pub(super) turn: Space,
    /// Whether it is an answer's turn, and not a push's.
    pub(super) is_answers_turn: bool,
    pub(super) last_heard: Moment,
    /// When it was asked how it stands, and how long it takes to answer: the newest, smoothed upwards at once and downwards slowly.
    pub(super) asked_at: Option<Moment>,
    pub(super) round_trip: Duration,
    pub(super) sent: Traffic,
    pub(super) received: Traffic,
}

impl Peer {
    pub(super) fn new(link: Link, now: Moment) -> Self {
        Self {
            link,
            encoder: Encoder::new(link.is_ordered),
            decoder: Decoder::new(link.is_ordered),
            credit: i64::try_from(link.window).unwrap_or(i64::MAX),
            control: VecDeque::new(),
            sessions: BTreeMap::new(),
            turn: [0; 16],
            is_answers_turn: false,
            last_heard: now,
            asked_at: None,
            round_trip: Duration::ZERO,
            sent: Traffic::default(),
            received: Traffic::default(),
        }
    }
}

impl Peer {
    /// It is asked something. If it was asked before and has not answered, nobody can tell which of the two it answers next.
    pub(super) fn is_asked(&mut self, now: Moment) {
        self.asked_at = if self.asked_at.is_some() { None } else { Some(now) };
    }

    /// It has answered what it was asked at `asked_at`.
    pub(super) fn has_answered(&mut self, now: Moment) {
        if let Some(asked) = self.asked_at.take() {
            let took = now.since(asked);
            self.round_trip = took.max((7 * self.round_trip + took) / 8);
        }
    }
}

/// A peer and a store.
#[derive(Debug)]
pub(super) struct Session {
    /// It has said that it keeps the space.
    pub(super) is_met: bool,
    /// The two have compared what they have: it knows no more of this replica than this replica itself, or that one has a new id now.
    pub(super) is_compared: bool,
    pub(super) replica: Option<ReplicaId>,
    pub(super) takes_nothing: bool,
    /// What it has, as it has said itself.
    pub(super) theirs: VersionVector,
    /// What it has if nothing was lost: also what was pushed to it. Never less than `theirs`.
    pub(super) sent: VersionVector,
    /// What it can know that this side has.
    pub(super) told: VersionVector,
    /// Replicas whose transactions it gets another way first: it is only told what there is.
    pub(super) unwanted: BTreeSet<ReplicaId>,
    /// Those of which it was told the same, and when.
    pub(super) declined: BTreeMap<ReplicaId, Moment>,
    /// It must ask for what it is told next: it will not be pushed.
    pub(super) is_to_pull: bool,
    /// Its version was another one when it said how it stands, and nothing has explained that since.
    pub(super) differs: Option<u64>,
    /// It has the same version, and other contents: what it said, before it was asked why; and what the last report was about.
    pub(super) suspected: Option<(u64, [u8; 16])>,
    pub(super) diverged: Option<(u64, [u8; 16])>,
    pub(super) is_in_step: bool,
    /// It is to be asked for what it knows of each history, whatever is here: only that can tell why the two differ.
    pub(super) asks_for_points: bool,
    /// When a transaction was pushed last, either way.
    pub(super) last_push: Option<Moment>,
    pub(super) pushes: VecDeque<Push>,
    pub(super) push_bytes: usize,
    /// From when on they may go.
    pub(super) push_at: Option<Moment>,
    /// It must be told what is here, as soon as something else is said.
    pub(super) owes_have: bool,
    /// From when on it may be asked for what is missing here, if that is still missing then.
    pub(super) ask_at: Option<Moment>,
    /// What was missing when that was decided, and is not waited for any longer.
    pub(super) ask_for: VersionVector,
    pub(super) asking: Option<Asking>,
    /// How many requests in a row have failed, and until when there is no other.
    pub(super) failures: u32,
    pub(super) not_before: Moment,
    pub(super) answering: Option<Answering>,
    /// The last request that was answered: it may come twice.
    pub(super) answered: Option<u64>,
}

impl Session {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            is_met: false,
            is_compared: false,
            replica: None,
            takes_nothing: false,
            theirs: VersionVector::new(),
            sent: VersionVector::new(),
            told: VersionVector::new(),
            unwanted: BTreeSet::new(),
            declined: BTreeMap::new(),
            is_to_pull: false,
            differs: None,
            suspected: None,
            diverged: None,
            is_in_step: false,
            asks_for_points: false,
            last_push: None,
            pushes: VecDeque::new(),
            push_bytes: 0,
            push_at: None,
            owes_have: false,
            ask_at: None,
            ask_for: VersionVector::new(),
            asking: None,
            failures: 0,
            not_before: now,
            answering: None,
            answered: None,
        }
    }

    /// It has this, by its own word.
    pub(super) fn has(&mut self, replica: ReplicaId, seq: u64) {
        self.theirs.advance(replica, seq);
        self.sent.advance(replica, seq);
    }

    /// It may be asked from `at` on, for what it has now and is still missing here then.
    pub(super) fn ask_by(&mut self, at: Moment) {
        if self.ask_at.is_none_or(|before| before > at) {
            self.ask_at = Some(at);
            self.ask_for.clone_from(&self.theirs);
        }
    }

    pub(super) fn has_all(&mut self, version: &VersionVector) {
        self.theirs.join(version);
        self.sent.join(version);
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Asking {
    /// It was asked this first, and then, since pieces were lost, up to `pull`.
    pub(super) first: u64,
    pub(super) pull: u64,
    /// What of, and how.
    pub(super) base: VersionVector,
    pub(super) live: Live,
    pub(super) all_points: bool,
    /// How often in a row it was asked again in vain.
    pub(super) in_vain: u32,
    /// How many bytes there were when it was asked last.
    pub(super) had: u64,
    pub(super) incoming: Incoming,
}

/// An answer that comes in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) answer: Option<AnswerId>,
    pub(super) spool: Spool,
    /// Pieces that came before those in front of them.
    pub(super) early: BTreeMap<u64, Bytes>,
    pub(super) early_bytes: usize,
    /// How long it is, once the last piece has come.
    pub(super) end: Option<u64>,
}

impl Incoming {
    pub(super) fn new(memory: usize) -> Self {
        Self { answer: None, spool: Spool::new(memory), early: BTreeMap::new(), early_bytes: 0, end: None }
    }
}

/// An answer that goes out.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) pull: u64,
    pub(super) answer: AnswerId,
    pub(super) spool: Spool,
    pub(super) offset: u64,
    /// What the peer has, and what it has when it has all of it.
    pub(super) base: VersionVector,
    pub(super) version: VersionVector,
    pub(super) all_points: bool,
}

impl Answering {
    pub(super) fn is_sent(&self) -> bool {
        self.offset >= self.spool.len()
    }
}

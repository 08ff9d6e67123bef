//! Whose turn it is to be sent something: peers take turns, stores of a peer take turns, and answers take turns with pushes, so that a
//! long answer holds up nobody.

use std::time::Duration;

use crate::replication::config::Moment;
use crate::replication::io::{PeerId, Space};
use crate::replication::message::{Batch, Message, Push};
use crate::replication::replica::{Fault, Replica};

use super::Engine;
use super::session::Peer;

impl<R: Replica> Engine<R> {
    /// A frame for the next peer that has room for one.
    pub(super) fn next_frame(&mut self) -> Option<(PeerId, Vec<u8>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.turn.map_or(Unbounded, Excluded);
        let order: Vec<PeerId> = self
            .peers
            .range((after, Unbounded))
            .chain(&self.peers)
            .filter(|(_id, peer)| peer.credit > 0)
            .map(|(id, _)| *id)
            .collect();
        for id in order.into_iter().take(self.peers.len()) {
            if let Some(frame) = self.frame_for(id) {
                self.turn = Some(id);
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.sent.frames += 1;
                    peer.sent.bytes += frame.len() as u64;
                    peer.credit = peer.credit.saturating_sub_unsigned(frame.len() as u64);
                }
                return Some((id, frame));
            }
        }
        None
    }

    fn frame_for(&mut self, id: PeerId) -> Option<Vec<u8>> {
        if let Some(space) = self.peers.get(&id)?.control.front().map(|(space, _message)| *space) {
            return self.control_frame(id, space);
        }
        let peer = self.peers.get(&id)?;
        let turn = peer.turn;
        let order: Vec<Space> =
            peer.sessions.range(turn..).chain(peer.sessions.range(..turn)).map(|(space, _session)| *space).collect();
        for space in order {
            if let Some(frame) = self.session_frame(id, space) {
                // The one behind it is next.
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.turn = next_space(space);
                }
                return Some(frame);
            }
        }
        None
    }

    /// What is said before anything else, as far as it is about one store.
    fn control_frame(&mut self, id: PeerId, space: Space) -> Option<Vec<u8>> {
        let have =
            if self.session(id, space).is_some_and(|session| session.owes_have) { self.have_for(id, space) } else { None };
        let peer = self.peers.get_mut(&id)?;
        let mut frame = peer.encoder.frame(space);
        if let Some(have) = have {
            frame.message(&Message::Have(have));
        }
        while frame.len() < self.config.frame_bytes
            && let Some((_space, message)) = peer.control.pop_front_if(|(of, _message)| *of == space)
        {
            frame.message(&message);
        }
        Some(frame.into_bytes())
    }

    fn session_frame(&mut self, id: PeerId, space: Space) -> Option<Vec<u8>> {
        let now = self.now;
        let frame_bytes = self.config.frame_bytes;
        let has_answer = self.bucket.is_open(now);
        let session = self.session(id, space)?;
        let has_answer = has_answer && session.answering.as_ref().is_some_and(|answering| !answering.is_sent());
        let has_push = !session.pushes.is_empty() && session.push_at.is_none_or(|at| at <= now);
        let owes_have = session.owes_have;
        let is_answers_turn = std::mem::take(&mut self.peers.get_mut(&id)?.is_answers_turn);
        if has_answer && (is_answers_turn || !has_push) {
            return self.answer_frame(id, space);
        }
        let have = if owes_have { self.have_for(id, space) } else { None };
        if have.is_none() && !has_push {
            return None;
        }
        let peer = self.peers.get_mut(&id)?;
        peer.is_answers_turn = true;
        let Peer { encoder, sessions, sent, .. } = peer;
        let session = sessions.get_mut(&space)?;
        let mut frame = encoder.frame(space);
        if let Some(have) = have {
            frame.message(&Message::Have(have));
        }
        while has_push && let Some(push) = session.pushes.pop_front() {
            let weight = push.transaction.weight();
            session.push_bytes -= weight;
            sent.transactions += 1;
            let more = |next: &Push| frame.len() + weight + next.transaction.weight() <= frame_bytes;
            let goes_on = session.pushes.front().is_some_and(more);
            frame.push(&push, !goes_on);
            if !goes_on {
                break;
            }
        }
        Some(frame.into_bytes())
    }

    /// The next piece of an answer.
    fn answer_frame(&mut self, id: PeerId, space: Space) -> Option<Vec<u8>> {
        let frame_bytes = self.config.frame_bytes;
        let peer = self.peers.get_mut(&id)?;
        let Peer { encoder, sessions, .. } = peer;
        let session = sessions.get_mut(&space)?;
        let answering = session.answering.as_mut()?;
        let bytes = match answering.spool.read_at(answering.offset, frame_bytes) {
            Ok(bytes) => bytes,
            Err(error) => {
                session.answering = None;
                self.trouble(space, Fault::Refused(format!("a temporary file failed: {error}")));
                return None;
            }
        };
        let (pull, answer, offset) = (answering.pull, answering.answer, answering.offset);
        answering.offset += bytes.len() as u64;
        let is_last = answering.is_sent();
        self.bucket.take(bytes.len() as u64);
        let mut frame = encoder.frame(space);
        frame.message(&Message::Batch(Batch { pull, answer, offset, is_last, bytes: bytes.into() }));
        if is_last {
            // It knows what was here when it was answered.
            session.told.join(&answering.version);
            // It is kept until it is known to be there: what is lost on the way is asked for again.
        }
        Some(frame.into_bytes())
    }

    /// When the next answer may go on, if the rate holds it up.
    pub(super) fn bucket_wait(&self) -> Option<Moment> {
        let is_answering = |peer: &Peer| {
            peer.credit > 0
                && peer.sessions.values().filter_map(|session| session.answering.as_ref()).any(|answering| !answering.is_sent())
        };
        self.bucket.opens_at().filter(|_at| self.peers.values().any(is_answering))
    }
}

fn next_space(space: Space) -> Space {
    u128::from_be_bytes(space).wrapping_add(1).to_be_bytes()
}

/// Lets so many bytes through in a second.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Option<u64>,
    /// Up to when what went through was enough.
    full_until: Moment,
}

impl Bucket {
    pub(super) const fn new(rate: Option<u64>) -> Self {
        Self { rate, full_until: Moment::from_micros(0) }
    }

    fn is_open(&mut self, now: Moment) -> bool {
        let is_open = self.rate.is_none() || self.full_until <= now;
        if is_open {
            // What was not used is not saved up.
            self.full_until = self.full_until.max(now);
        }
        is_open
    }

    fn take(&mut self, bytes: u64) {
        if let Some(rate) = self.rate {
            let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
            self.full_until = self.full_until + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        }
    }

    fn opens_at(&self) -> Option<Moment> {
        self.rate.map(|_rate| self.full_until)
    }
}

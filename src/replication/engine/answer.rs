//! What is missing at a peer, when it asks.

use crate::causal::{Pages, VersionVector};
use crate::replication::config::Moment;
use crate::replication::io::{PeerId, Space};
use crate::replication::message::{AnswerId, Batch, ByeCode, Live, Message, PagesOf, Pull};
use crate::replication::mutant::{self, Mutant};
use crate::replication::replica::{Answered, Fault, Listing, Replica, Wanted};
use crate::replication::spool::Spool;

use super::session::Answering;
use super::{Engine, Timer};

/// An answer that was cut short: who asked may come back for the rest, over another link.
#[derive(Debug)]
pub(super) struct Kept {
    answer: AnswerId,
    spool: Spool,
    base: VersionVector,
    version: VersionVector,
    pub(super) until: Moment,
}

/// What a request leads to.
enum Answer {
    /// There is nothing that the peer lacks.
    Nothing,
    /// It has to compare these first.
    Pages(Pages),
    Pieces(Answering),
}

/// How many answers of a store are kept for those who may come back.
const KEPT_MAX: usize = 4;

impl<R: Replica> Engine<R> {
    pub(super) fn hear_pull(&mut self, from: PeerId, space: Space, mut pull: Pull) {
        if !self.refresh(space) {
            return;
        }
        let Some(session) = self.session(from, space) else { return };
        if session.answered == Some(pull.id) {
            return;
        }
        session.answered = Some(pull.id);
        for id in &pull.grafts {
            session.unwanted.remove(id);
        }
        if mutant::is(Mutant::SentBelieved) {
            pull.base.join(&session.sent);
        }
        // Its own word, which counts more than what was sent: that may be lost.
        session.theirs.clone_from(&pull.base);
        session.sent.clone_from(&pull.base);
        let before = session.answering.take();
        let is_ordered = self.peers.get(&from).is_some_and(|peer| peer.link.is_ordered);
        match self.answer(space, &pull, before.filter(|_before| pull.resume.is_some() || !is_ordered)) {
            Ok(Answer::Pages(pages)) => self.say(from, space, Message::Pages(PagesOf { pull: pull.id, pages })),
            Ok(Answer::Pieces(answering)) => {
                if let Some(session) = self.session(from, space) {
                    session.sent.join(&answering.version);
                    session.answering = Some(answering);
                }
            }
            Ok(Answer::Nothing) => {
                let nothing = Batch { pull: pull.id, answer: 0, offset: 0, is_last: true, bytes: bytes::Bytes::new() };
                self.say(from, space, Message::Batch(nothing));
            }
            Err(Fault::Malformed(why)) => return self.cut_off(from, ByeCode::Malformed, why),
            Err(fault) => return self.trouble(space, fault),
        }
        let Some(local) = self.stores.get(&space) else { return };
        let has_more = !local.summary.version.covers(&pull.base);
        let now = self.now;
        let Some(session) = self.session(from, space) else { return };
        session.is_compared = true;
        self.may_go_live = true;
        let Some(session) = self.session(from, space) else { return };
        if has_more {
            session.ask_by(now);
            self.repair_at(space, now);
        } else {
            // It was different since it had less. So it has no answer to what it may have been asked, and others may have one.
            session.differs = None;
            self.expect_no_answer(from, space);
        }
    }

    fn answer(&mut self, space: Space, pull: &Pull, before: Option<Answering>) -> Result<Answer, Fault> {
        let (memory, page) = (self.config.answer_memory, self.config.live_page);
        let (known, offset) = pull.resume.map_or((None, 0), |(answer, offset)| (Some(answer), offset));
        let Some(local) = self.stores.get_mut(&space) else { return Ok(Answer::Nothing) };
        // Pieces of it were lost; or all, if that is still all there is.
        let is_again = |before: &Answering| match known {
            Some(answer) => before.answer == answer && offset <= before.spool.len(),
            None => {
                let is_same = before.base == pull.base && before.all_points == pull.all_points;
                is_same && before.version == local.summary.version
            }
        };
        // Who knows more of this replica than it has given away is not put off: by that it finds out that it is a copy.
        let is_explained = local.summary.explains(&pull.base);
        if let Some(before) = before.filter(|before| is_explained && is_again(before)) {
            return Ok(Answer::Pieces(Answering { pull: pull.id, offset, ..before }));
        }
        if let Some((answer, offset)) = pull.resume.filter(|_resume| is_explained)
            && let Some(place) = local.kept.iter().position(|kept| kept.answer == answer && offset <= kept.spool.len())
            && let Some(kept) = local.kept.remove(place)
        {
            return Ok(Answer::Pieces(Answering {
                pull: pull.id,
                answer,
                spool: kept.spool,
                offset,
                base: kept.base,
                version: kept.version,
                all_points: pull.all_points,
            }));
        }
        if pull.base.covers(&local.summary.version) && is_explained && !pull.all_points {
            return Ok(Answer::Nothing);
        }
        let mut spool = Spool::new(memory);
        let listing = match &pull.live {
            Live::Short => Listing::Short { page },
            Live::Pages(pages) => Listing::Pages(pages),
            Live::Whole => Listing::Whole,
        };
        let answered = local.replica.answer(&Wanted { base: &pull.base, listing, all_points: pull.all_points }, &mut spool)?;
        // The request may have told that this replica is a copy, which then has a new id. And there may be more by now.
        local.is_stale = true;
        if let Answered::Pages(pages) = answered {
            return Ok(Answer::Pages(pages));
        }
        let answer = self.random.u64(..);
        let version = if self.refresh(space) { self.version(space).cloned().unwrap_or_default() } else { VersionVector::new() };
        let (base, all_points) = (pull.base.clone(), pull.all_points);
        Ok(Answer::Pieces(Answering { pull: pull.id, answer, spool, offset: 0, base, version, all_points }))
    }

    pub(super) fn keep_answer(&mut self, space: Space, answering: Answering, until: Moment) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        let Answering { answer, spool, base, version, .. } = answering;
        if spool.len() <= self.config.frame_bytes as u64 {
            return;
        }
        local.kept.push_back(Kept { answer, spool, base, version, until });
        if local.kept.len() > KEPT_MAX {
            local.kept.pop_front();
        }
        self.timers.set_by(Timer::Forget(space), until);
    }
}

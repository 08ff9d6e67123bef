//! Answers that do not come: what was lost is asked for again, what has come is kept, and who is silent is left for a while.

use crate::replication::config::{Moment, around};
use crate::replication::io::{PeerId, Space};
use crate::replication::message::{AnswerId, Live, Message};
use crate::replication::replica::Replica;

use super::session::{Incoming, Session};
use super::{Engine, PAUSE_MIN, Timer};

/// An answer that was cut short: the one who gave it may have kept the rest.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) answer: AnswerId,
    pub(super) incoming: Incoming,
    pub(super) until: Moment,
}

impl<R: Replica> Engine<R> {
    /// An answer makes no progress: what was lost is asked for again, a few times.
    pub(super) fn answer_is_late(&mut self, from: PeerId, space: Space) {
        const IN_VAIN_MAX: u32 = 5;
        let is_ordered = self.peers.get(&from).is_none_or(|peer| peer.link.is_ordered);
        let Some(local) = self.stores.get_mut(&space) else { return };
        let Some(session) = self.peers.get_mut(&from).and_then(|peer| peer.sessions.get_mut(&space)) else { return };
        let Some(asking) = session.asking.as_mut() else { return };
        let here = asking.incoming.spool.len() + asking.incoming.early_bytes as u64;
        asking.in_vain = if here > asking.had { 0 } else { asking.in_vain + 1 };
        if is_ordered || asking.in_vain > IN_VAIN_MAX {
            return self.answer_failed(from, space);
        }
        local.next_pull += 1;
        (asking.pull, asking.had) = (local.next_pull, here);
        if matches!(asking.live, Live::Short) {
            asking.base.clone_from(&local.summary.version);
        }
        let pull = asking.pull();
        self.say(from, space, Message::Pull(pull));
        self.wait_for_answer(from, space);
        self.is_asked_no_more(from, space);
        self.repair_at(space, self.now);
    }

    pub(super) fn answer_failed(&mut self, from: PeerId, space: Space) {
        self.timers.clear(&Timer::Answer(from, space));
        let until = self.now + self.config.resume_within;
        let Some(session) = self.session(from, space) else { return };
        let Some(asking) = session.asking.take() else { return };
        session.asks_for_points |= asking.all_points;
        session.ask_by(Moment::default());
        session.failures += 1;
        self.back_off(from, space);
        self.is_asked_no_more(from, space);
        self.cut_short(space, asking.incoming, until);
        self.repair_at(space, self.now);
    }

    /// Keeps what has come, for a request that goes on with it.
    fn cut_short(&mut self, space: Space, incoming: Incoming, until: Moment) {
        let Some(local) = self.stores.get_mut(&space) else { return };
        if let Some(answer) = incoming.answer.filter(|_any| !incoming.spool.is_empty()) {
            local.partial = Some(Partial { answer, incoming, until });
            self.timers.set(Timer::Forget(space), until);
        }
    }

    pub(super) fn back_off(&mut self, from: PeerId, space: Space) {
        let most = self.config.retry_max;
        let failures = self.session(from, space).map_or(0, |session| session.failures);
        let pause = (most / 16).saturating_mul(1 << failures.saturating_sub(1).min(4)).min(most);
        let pause = around(pause, &mut self.random).max(PAUSE_MIN);
        let now = self.now;
        if let Some(session) = self.session(from, space) {
            session.not_before = now + pause;
        }
    }

    /// The link is gone: what was under way may go on over another one.
    pub(super) fn keep_what_was_cut_short(&mut self, space: Space, session: Session) {
        let until = self.now + self.config.resume_within;
        if let Some(asking) = session.asking {
            self.cut_short(space, asking.incoming, until);
        }
        if let Some(answering) = session.answering {
            self.keep_answer(space, answering, until);
        }
    }

    pub(super) fn forget_kept(&mut self, space: Space) {
        let now = self.now;
        let Some(local) = self.stores.get_mut(&space) else { return };
        local.partial = local.partial.take().filter(|partial| partial.until > now);
        let next = local.kept.iter().map(|kept| kept.until).chain(local.partial.as_ref().map(|partial| partial.until));
        let next = next.filter(|until| *until > now).min();
        local.kept.retain(|kept| kept.until > now);
        if let Some(next) = next {
            self.timers.set(Timer::Forget(space), next);
        }
    }
}

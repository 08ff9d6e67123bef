//! Writes frames.

use std::collections::BTreeMap;

use crate::causal::{Hlc, Pages, ReplicaId};
use crate::codec::Writer;
use crate::replication::message::{Batch, Have, Hello, Live, Message, Pull, Push};

use super::expected::{Expected, difference};
use super::{
    ACCEPTS_ALL, ALL_POINTS, ALONE, BATCH, BYE, DECLINES, EARLY, GRAFT, HAVE, HELLO, LAST, LISTED, NAMED, PAGED, PAGES,
    PROTOCOL, PULL, PUSH, PUSH_SIZED, QUESTION, REPLICAS_MAX, RESUME, SHORT, STAMPED, TAKES_NOTHING, TEXT_MAX, TO_BE_PULLED,
    WHOLE,
};

/// One direction of a link, for who writes.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// What a link that delivers everything once and in order was told; `None`: each frame stands alone.
    told: Option<Told>,
}

#[derive(Debug, Default)]
struct Told {
    stores: BTreeMap<[u8; 16], u64>,
    replicas: BTreeMap<ReplicaId, u64>,
    expected: BTreeMap<[u8; 16], Expected>,
}

impl Encoder {
    pub(crate) fn new(is_ordered: bool) -> Self {
        Self { told: is_ordered.then(Told::default) }
    }

    /// A frame about a store. What is written must be sent, and in this order.
    pub(crate) fn frame(&mut self, space: [u8; 16]) -> Frame<'_> {
        let mut to = Writer::new();
        to.u8(PROTOCOL);
        let known = self.told.as_ref().and_then(|told| told.stores.get(&space).copied());
        match (known, &mut self.told) {
            (Some(number), _) => to.u64(number),
            (None, told) => {
                to.u64(0);
                to.raw(&space);
                if let Some(told) = told {
                    told.stores.insert(space, told.stores.len() as u64 + 1);
                }
            }
        }
        Frame { to, space, told: self.told.as_mut() }
    }
}

/// A frame in the making.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    to: Writer,
    space: [u8; 16],
    told: Option<&'a mut Told>,
}

impl Frame<'_> {
    pub(crate) fn len(&self) -> usize {
        self.to.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.to.into_vec()
    }

    /// A transaction. The last one goes to the end of its frame: write nothing behind it.
    pub(crate) fn push(&mut self, push: &Push, is_last: bool) {
        if is_last {
            self.to.u8(PUSH);
            self.transaction(push);
        } else {
            let whole = std::mem::take(&mut self.to);
            self.transaction(push);
            let part = std::mem::replace(&mut self.to, whole);
            self.to.u8(PUSH_SIZED);
            self.to.bytes(part.as_slice());
        }
    }

    /// A transaction goes to the end of its frame: write nothing behind it.
    pub(crate) fn message(&mut self, message: &Message) {
        match message {
            Message::Hello(hello) => self.hello(hello),
            Message::Pull(pull) => self.pull(pull),
            Message::Pages(of) => {
                self.to.u8(PAGES);
                self.to.u64(of.pull);
                self.pages(&of.pages);
            }
            Message::Batch(batch) => self.batch(batch),
            Message::Push(push) => self.push(push, true),
            Message::Have(have) => self.have(have),
            Message::Bye { code, text } => {
                self.to.u8(BYE);
                self.to.u64(code.to_number());
                let end = text.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(|end| *end <= TEXT_MAX).last();
                self.to.bytes(text.get(..end.unwrap_or_default()).unwrap_or_default().as_bytes());
            }
        }
    }

    fn hello(&mut self, hello: &Hello) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        self.to.u8(HELLO);
        self.to.u8(flag(hello.replica.is_some(), NAMED)
            | flag(hello.is_question, QUESTION)
            | flag(hello.takes_nothing, TAKES_NOTHING));
        if let Some(replica) = hello.replica {
            self.to.raw(&replica.to_bytes());
        }
        self.to.raw(&hello.version_digest.to_le_bytes());
        self.to.raw(&hello.state_digest);
    }

    fn pull(&mut self, pull: &Pull) {
        self.to.u8(PULL);
        self.to.u64(pull.id);
        let space = self.space;
        let known = self.told.as_mut().map(|told| std::mem::take(&mut told.expected.entry(space).or_default().base));
        // A replica that took a new id has less of the old one than before: that cannot be said as what has come.
        let since = known.filter(|known| pull.base.covers(known));
        let flags = if pull.grafts.is_empty() { 0 } else { GRAFT }
            | if pull.resume.is_some() { RESUME } else { 0 }
            | if since.is_none() { WHOLE } else { 0 }
            | match pull.live {
                Live::Short => 0,
                Live::Pages(_) => PAGED,
                Live::Whole => LISTED,
            }
            | if pull.all_points { ALL_POINTS } else { 0 };
        self.to.u8(flags);
        if let Some((answer, offset)) = pull.resume {
            self.to.raw(&answer.to_le_bytes());
            self.to.u64(offset);
        }
        self.replicas(&pull.grafts);
        let since = since.unwrap_or_default();
        let changed: Vec<(ReplicaId, u64)> = pull.base.iter().filter(|(id, seq)| since.get(*id) < *seq).collect();
        self.vector(&changed);
        if let Some(told) = &mut self.told {
            told.expected.entry(space).or_default().base = pull.base.clone();
        }
        if let Live::Pages(pages) = &pull.live {
            self.pages(pages);
        }
    }

    fn batch(&mut self, batch: &Batch) {
        self.to.u8(BATCH);
        self.to.u64(batch.pull);
        self.to.raw(&batch.answer.to_le_bytes());
        self.to.u64(batch.offset);
        self.to.u8(if batch.is_last { LAST } else { 0 });
        self.to.bytes(&batch.bytes);
    }

    fn have(&mut self, have: &Have) {
        self.to.u8(HAVE);
        let flags = if have.accepts_all { ACCEPTS_ALL } else { 0 }
            | if have.is_to_be_pulled { TO_BE_PULLED } else { 0 }
            | if have.declines.is_empty() { 0 } else { DECLINES };
        self.to.u8(flags);
        self.vector(&have.seqs);
        self.replicas(&have.declines);
    }

    fn transaction(&mut self, push: &Push) {
        let transaction = &*push.transaction;
        let is_alone = transaction.ids.len() == 1;
        let is_short = transaction.rows == 1 && transaction.deps.is_empty();
        self.to.u8(if transaction.stamp.is_some() { STAMPED } else { 0 }
            | if is_alone { ALONE } else { 0 }
            | if is_short { SHORT } else { 0 }
            | if push.is_early { EARLY } else { 0 });
        if !is_alone {
            self.to.u64(transaction.ids.len() as u64);
        }
        for id in &transaction.ids {
            self.replica(*id);
        }
        if !is_alone {
            self.to.u64(u64::from(transaction.origin));
        }
        let space = self.space;
        let expected = self.told.as_mut().map(|told| told.expected.entry(space).or_default());
        let next = expected.as_ref().map(|expected| expected.next(transaction.origin()));
        match next {
            Some(next) => self.to.i64(difference(transaction.lo, next.lo)),
            None => self.to.u64(transaction.lo),
        }
        if !is_short {
            self.to.u64(transaction.rows);
            self.to.u64(transaction.deps.len() as u64);
            for (place, seq) in &transaction.deps {
                self.to.u64(u64::from(*place));
                self.to.u64(*seq);
            }
        }
        match (transaction.stamp, next) {
            (Some(stamp), Some(next)) => {
                // Milliseconds and count apart: the one grows slowly, the other is small.
                let before = Hlc::from_bits(next.stamp);
                self.to.i64(difference(stamp.ms(), before.ms()));
                self.to.u64(stamp.to_bits() & 0xffff);
            }
            (Some(stamp), None) => self.to.raw(&stamp.to_bits().to_le_bytes()),
            (None, _) => {}
        }
        self.to.raw(&transaction.body);
        if let Some(expected) = expected {
            expected.note(transaction);
        }
    }

    /// Nothing at all, if there are none.
    fn replicas(&mut self, ids: &[ReplicaId]) {
        if !ids.is_empty() {
            self.to.u64(ids.len() as u64);
            ids.iter().for_each(|id| self.replica(*id));
        }
    }

    fn pages(&mut self, pages: &Pages) {
        self.to.u64(pages.replicas() as u64);
        for (id, pages) in pages.iter() {
            self.replica(id);
            self.to.u64(pages.len() as u64);
            let mut before = 0;
            for page in pages {
                self.to.u64(page.last - before);
                self.to.raw(&page.fingerprint.to_le_bytes());
                before = page.last;
            }
        }
    }

    fn vector(&mut self, seqs: &[(ReplicaId, u64)]) {
        self.to.u64(seqs.len() as u64);
        for (id, seq) in seqs {
            self.replica(*id);
            self.to.u64(*seq);
        }
    }

    fn replica(&mut self, id: ReplicaId) {
        let known = self.told.as_ref().and_then(|told| told.replicas.get(&id).copied());
        match known {
            Some(number) => self.to.u64(number),
            None => {
                self.to.u64(0);
                self.to.raw(&id.to_bytes());
                if let Some(told) = &mut self.told
                    && told.replicas.len() < REPLICAS_MAX
                {
                    told.replicas.insert(id, told.replicas.len() as u64 + 1);
                }
            }
        }
    }
}

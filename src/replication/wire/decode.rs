//! Reads frames. Whatever a peer sends ends in a message or in an error, in memory proportional to the frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::causal::{Hlc, Page, Pages, ReplicaId, SEQ_MAX, Transaction, VersionVector, read_place, read_seq};
use crate::codec::{DecodeError, Reader};
use crate::replication::message::{Batch, ByeCode, Have, Hello, Live, Message, PagesOf, Pull, Push};

use super::expected::{Expected, sum};
use super::{
    ACCEPTS_ALL, ALL_POINTS, ALONE, BATCH, BYE, DECLINES, EARLY, GRAFT, HAVE, HELLO, LAST, LISTED, NAMED, PAGED, PAGES,
    PROTOCOL, PULL, PUSH, PUSH_SIZED, QUESTION, REPLICAS_MAX, RESUME, SHORT, STAMPED, STORES_MAX, TAKES_NOTHING, TEXT_MAX,
    TO_BE_PULLED, WHOLE,
};

/// One direction of a link, for who reads.
#[derive(Debug)]
pub(crate) struct Decoder {
    heard: Option<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    stores: Vec<[u8; 16]>,
    replicas: Vec<ReplicaId>,
    expected: BTreeMap<[u8; 16], Expected>,
}

/// The messages of a frame, and the space that they are about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) space: [u8; 16],
    pub(crate) messages: Vec<Message>,
}

impl Decoder {
    pub(crate) fn new(is_ordered: bool) -> Self {
        Self { heard: is_ordered.then(Heard::default) }
    }

    /// The messages of a frame. After an error an ordered link cannot be read any further.
    pub(crate) fn frame(&mut self, frame: &[u8]) -> Result<Named, DecodeError> {
        let mut from = Reader::new(frame);
        if from.u8()? != PROTOCOL {
            return Err(DecodeError::new(0, "a frame of another version of the protocol"));
        }
        let space = self.store(&mut from)?;
        let mut reading = Reading { from, space, heard: self.heard.as_mut() };
        let mut messages = Vec::new();
        while !reading.from.is_empty() {
            messages.push(reading.message()?);
        }
        Ok(Named { space, messages })
    }

    fn store(&mut self, from: &mut Reader<'_>) -> Result<[u8; 16], DecodeError> {
        let number = from.u64()?;
        if number == 0 {
            let space = from.array()?;
            if let Some(heard) = &mut self.heard {
                if heard.stores.len() == STORES_MAX || heard.stores.contains(&space) {
                    return Err(from.error("a store that is named twice, or one too many"));
                }
                heard.stores.push(space);
            }
            return Ok(space);
        }
        let known = self.heard.as_ref().and_then(|heard| heard.stores.get(usize::try_from(number - 1).ok()?));
        known.copied().ok_or_else(|| from.error("a store that was not named"))
    }
}

/// A frame that is being read.
struct Reading<'a, 'h> {
    from: Reader<'a>,
    space: [u8; 16],
    heard: Option<&'h mut Heard>,
}

impl Reading<'_, '_> {
    fn message(&mut self) -> Result<Message, DecodeError> {
        match self.from.u8()? {
            HELLO => self.hello().map(Message::Hello),
            PULL => self.pull().map(Message::Pull),
            PAGES => Ok(Message::Pages(PagesOf { pull: self.from.u64()?, pages: self.pages()? })),
            BATCH => self.batch().map(Message::Batch),
            PUSH => self.push().map(Message::Push),
            PUSH_SIZED => {
                let part = self.from.bytes(usize::MAX)?;
                let at = self.from.position();
                let rest = std::mem::replace(&mut self.from, Reader::new(part));
                let push = self.push().map_err(|error| {
                    DecodeError::new(at - part.len() + usize::try_from(error.at).unwrap_or_default(), error.what)
                });
                self.from = rest;
                push.map(Message::Push)
            }
            HAVE => self.have().map(Message::Have),
            BYE => {
                let code = ByeCode::from_number(self.from.u64()?);
                let text = self.from.bytes(TEXT_MAX)?;
                Ok(Message::Bye { code, text: String::from_utf8_lossy(text).into_owned() })
            }
            _unknown => Err(self.from.error("a message that this version does not know")),
        }
    }

    fn flags(&mut self, known: u8) -> Result<u8, DecodeError> {
        let flags = self.from.u8()?;
        if flags & !known == 0 { Ok(flags) } else { Err(self.from.error("a flag that this version does not know")) }
    }

    fn hello(&mut self) -> Result<Hello, DecodeError> {
        let flags = self.flags(NAMED | QUESTION | TAKES_NOTHING)?;
        let replica = if flags & NAMED == 0 { None } else { Some(ReplicaId::from_bytes(self.from.array()?)) };
        Ok(Hello {
            replica,
            is_question: flags & QUESTION != 0,
            takes_nothing: flags & TAKES_NOTHING != 0,
            version_digest: u64::from_le_bytes(self.from.array()?),
            state_digest: self.from.array()?,
        })
    }

    fn pull(&mut self) -> Result<Pull, DecodeError> {
        let id = self.from.u64()?;
        let flags = self.flags(GRAFT | RESUME | WHOLE | PAGED | LISTED | ALL_POINTS)?;
        let resume = match flags & RESUME {
            0 => None,
            _ => Some((u64::from_le_bytes(self.from.array()?), self.from.u64()?)),
        };
        let grafts = if flags & GRAFT == 0 { Vec::new() } else { self.replicas()? };
        let changed = self.vector()?;
        let space = self.space;
        let base = match &mut self.heard {
            None if flags & WHOLE == 0 => return Err(self.from.error("a base that refers to another one")),
            None => changed.into_iter().collect(),
            Some(heard) => {
                let base = &mut heard.expected.entry(space).or_default().base;
                if flags & WHOLE != 0 {
                    *base = VersionVector::new();
                }
                for (id, seq) in changed {
                    base.advance(id, seq);
                }
                if base.len() > REPLICAS_MAX {
                    return Err(self.from.error("a base of too many replicas"));
                }
                base.clone()
            }
        };
        let live = match (flags & PAGED != 0, flags & LISTED != 0) {
            (false, false) => Live::Short,
            (true, false) => Live::Pages(Arc::new(self.pages()?)),
            (false, true) => Live::Whole,
            (true, true) => return Err(self.from.error("pages of what is to be listed whole")),
        };
        Ok(Pull { id, grafts, resume, base, live, all_points: flags & ALL_POINTS != 0 })
    }

    fn batch(&mut self) -> Result<Batch, DecodeError> {
        let pull = self.from.u64()?;
        let answer = u64::from_le_bytes(self.from.array()?);
        let offset = self.from.u64()?;
        let is_last = self.flags(LAST)? != 0;
        let bytes = Bytes::copy_from_slice(self.from.bytes(usize::MAX)?);
        Ok(Batch { pull, answer, offset, is_last, bytes })
    }

    fn have(&mut self) -> Result<Have, DecodeError> {
        let flags = self.flags(ACCEPTS_ALL | TO_BE_PULLED | DECLINES)?;
        let seqs = self.vector()?;
        let declines = if flags & DECLINES == 0 { Vec::new() } else { self.replicas()? };
        let accepts_all = flags & ACCEPTS_ALL != 0;
        Ok(Have { accepts_all, is_to_be_pulled: flags & TO_BE_PULLED != 0, seqs, declines })
    }

    fn push(&mut self) -> Result<Push, DecodeError> {
        let flags = self.flags(STAMPED | ALONE | SHORT | EARLY)?;
        let is_alone = flags & ALONE != 0;
        let count = if is_alone { 1 } else { self.from.len_up_to(REPLICAS_MAX, 1)? };
        let mut ids: Vec<ReplicaId> = Vec::with_capacity(count);
        for _ in 0..count {
            let id = self.replica()?;
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(self.from.error("replicas are not in order"));
            }
            ids.push(id);
        }
        let origin = if is_alone { 0 } else { read_place(&ids, &mut self.from)? };
        let space = self.space;
        let expected = self.heard.as_mut().map(|heard| heard.expected.entry(space).or_default());
        let from = &mut self.from;
        let next = ids.get(origin as usize).zip(expected.as_ref()).map(|(origin, expected)| expected.next(*origin));
        let lo = match next {
            Some(next) => sum(next.lo, from.i64()?),
            None => from.u64()?,
        };
        if lo == 0 || lo > SEQ_MAX {
            return Err(from.error("a sequence number outside 1..=2^63"));
        }
        let (rows, deps) = if flags & SHORT != 0 { (1, Vec::new()) } else { read_rows_and_deps(&ids, origin, from)? };
        if rows == 0 || rows > from.rest().len() as u64 / 4 || rows - 1 > SEQ_MAX - lo {
            return Err(from.error("a transaction without rows, of more than it has, or beyond the last sequence number"));
        }
        let stamp = match next {
            _ if flags & STAMPED == 0 => None,
            Some(next) => {
                let ms = sum(Hlc::from_bits(next.stamp).ms(), from.i64()?);
                let count = u16::try_from(from.u64()?).map_err(|_above| from.error("a stamp above 64 bits"))?;
                if ms > Hlc::MS_MAX {
                    return Err(from.error("a stamp above 64 bits"));
                }
                Some(Hlc::new(ms, count))
            }
            None => Some(Hlc::from_bits(u64::from_le_bytes(from.array()?))),
        };
        let body = Bytes::copy_from_slice(from.raw(from.rest().len())?);
        let transaction = Transaction { ids, origin, lo, rows, deps, stamp, body };
        if let Some(expected) = expected {
            expected.note(&transaction);
        }
        Ok(Push { transaction: Arc::new(transaction), is_early: flags & EARLY != 0 })
    }

    fn replicas(&mut self) -> Result<Vec<ReplicaId>, DecodeError> {
        let count = self.from.len_up_to(REPLICAS_MAX, 1)?;
        (0..count).map(|_| self.replica()).collect()
    }

    fn pages(&mut self) -> Result<Pages, DecodeError> {
        const PAGE_BYTES: usize = 9;
        let count = self.from.len_up_to(REPLICAS_MAX, PAGE_BYTES)?;
        let mut all = Pages::default();
        for _ in 0..count {
            let replica = self.replica()?;
            let count = self.from.len_up_to(usize::MAX, PAGE_BYTES)?;
            let (mut pages, mut last) = (Vec::with_capacity(count), 0_u64);
            for _ in 0..count {
                last = last.saturating_add(self.from.u64()?);
                pages.push(Page { last, fingerprint: u64::from_le_bytes(self.from.array()?) });
            }
            if !all.push(replica, pages) {
                return Err(self.from.error("pages out of order"));
            }
        }
        Ok(all)
    }

    /// Sorted in no way: a link numbers replicas as they come.
    fn vector(&mut self) -> Result<Vec<(ReplicaId, u64)>, DecodeError> {
        let count = self.from.len_up_to(REPLICAS_MAX, 2)?;
        let mut seqs = Vec::with_capacity(count);
        for _ in 0..count {
            seqs.push((self.replica()?, read_seq(&mut self.from)?));
        }
        Ok(seqs)
    }

    fn replica(&mut self) -> Result<ReplicaId, DecodeError> {
        let number = self.from.u64()?;
        if number == 0 {
            let id = ReplicaId::from_bytes(self.from.array()?);
            if let Some(heard) = &mut self.heard
                && heard.replicas.len() < REPLICAS_MAX
            {
                heard.replicas.push(id);
            }
            return Ok(id);
        }
        let known = self.heard.as_ref().and_then(|heard| heard.replicas.get(usize::try_from(number - 1).ok()?));
        known.copied().ok_or_else(|| self.from.error("a replica that was not named"))
    }
}

fn read_rows_and_deps(ids: &[ReplicaId], origin: u32, from: &mut Reader<'_>) -> Result<(u64, Vec<(u32, u64)>), DecodeError> {
    let rows = from.u64()?;
    let mut deps: Vec<(u32, u64)> = Vec::new();
    for _ in 0..from.len_up_to(REPLICAS_MAX, 2)? {
        let dep = (read_place(ids, from)?, read_seq(from)?);
        if deps.last().is_some_and(|last| last.0 >= dep.0) || dep.0 == origin {
            return Err(from.error("dependencies are not in order"));
        }
        deps.push(dep);
    }
    Ok((rows, deps))
}

//! Which rows have gone over which link: one that goes there again goes in vain.

use std::collections::{BTreeMap, BTreeSet};

use crate::causal::{Dot, ReplicaId};
use crate::kv::delta::{DeltaReader, Item, SliceFrames, WireDot};
use crate::replication::message::{AnswerId, Batch, Message};
use crate::replication::wire::Decoder;

use super::counts::SentCounts;

/// Reads every frame that is sent, as who receives it does.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By link, and the side that sends.
    directions: BTreeMap<(usize, usize), Direction>,
    counts: SentCounts,
}

/// What has gone one way, since the link came up.
#[derive(Debug)]
struct Direction {
    decoder: Decoder,
    /// Pushed transactions, by their first events.
    pushed: BTreeSet<Dot>,
    /// Each row that a transaction writes is an event of its own.
    rows: BTreeSet<Dot>,
    /// What has been sent of the last answer.
    answer: (AnswerId, Vec<u8>),
}

impl Ledger {
    pub(super) const fn counts(&self) -> SentCounts {
        self.counts
    }

    /// A link comes up: its ends name everything anew, and what went over it before may be lost.
    pub(super) fn opened(&mut self, link: usize, is_ordered: bool) {
        for side in 0..2 {
            let (pushed, rows) = (BTreeSet::new(), BTreeSet::new());
            let direction = Direction { decoder: Decoder::new(is_ordered), pushed, rows, answer: (0, Vec::new()) };
            self.directions.insert((link, side), direction);
        }
    }

    pub(super) fn sent(&mut self, link: usize, from: usize, frame: &[u8]) {
        let Some(direction) = self.directions.get_mut(&(link, from)) else { return };
        let named = direction.decoder.frame(frame).expect("an engine writes what can be read");
        for message in named.messages {
            match message {
                Message::Push(push) => {
                    let transaction = push.transaction;
                    let dots = (transaction.lo()..=transaction.hi()).map(|seq| Dot::new(transaction.origin(), seq));
                    self.counts.transactions += 1;
                    let is_new = direction.pushed.insert(Dot::new(transaction.origin(), transaction.lo()));
                    self.counts.transactions_again += u64::from(!is_new);
                    dots.for_each(|dot| direction.row(dot, &mut self.counts));
                }
                Message::Batch(batch) => {
                    for dot in direction.answered(batch) {
                        direction.row(dot, &mut self.counts);
                    }
                }
                Message::Hello(_) | Message::Pull(_) | Message::Pages(_) | Message::Have(_) | Message::Bye { .. } => {}
            }
        }
    }
}

impl Direction {
    fn row(&mut self, dot: Dot, counts: &mut SentCounts) {
        counts.rows += 1;
        counts.rows_again += u64::from(!self.rows.insert(dot));
    }

    /// The rows of an answer, with its last piece. Of those that were cut short nothing is counted.
    fn answered(&mut self, batch: Batch) -> Vec<Dot> {
        if batch.offset == 0 {
            self.answer = (batch.answer, Vec::new());
        }
        let (answer, bytes) = &mut self.answer;
        if *answer != batch.answer || bytes.len() as u64 != batch.offset {
            return Vec::new();
        }
        bytes.extend_from_slice(&batch.bytes);
        if !batch.is_last || bytes.is_empty() {
            return Vec::new();
        }
        rows(&std::mem::take(bytes)).expect("a store writes deltas that can be read")
    }
}

/// The rows of a delta: what is written in it, and what is deleted. What it only names is there already.
fn rows(delta: &[u8]) -> crate::kv::Result<Vec<Dot>> {
    let mut reader = DeltaReader::new(SliceFrames::new(delta))?;
    let ids: Vec<ReplicaId> = reader.head().replicas.iter().map(|replica| replica.id).collect();
    let mut rows = Vec::new();
    while let Some(item) = reader.next_item()? {
        let Item::Row { entries, deletes, .. } = item else { continue };
        let written = entries.into_iter().filter(|entry| entry.payload.is_some()).map(|entry| entry.dot);
        let events = written.chain(deletes);
        rows.extend(events.filter_map(|WireDot { replica, seq }| Some(Dot::new(*ids.get(replica as usize)?, seq))));
    }
    Ok(rows)
}

//! SENT: this replica's own counter rows as the peers may know them.
//!
//! What a counter's contributor adds replaces its row, and the old one is gone. To everybody else that is just what happened; but a
//! rotation takes own events back, and what they replaced must be there again, for the peers still have it. All other rows are
//! written again as they are, under the new id: that replaces the same entries.
//!
//! So the first own change of such a row after an emission keeps the row as it was, and what comes from peers is joined into both.
//! The next emission makes SENT empty.

use bytes::Bytes;

use crate::codec::{Reader, Writer};
use crate::kv::commit::Commit;
use crate::kv::error::{Error, Result};
use crate::kv::kinds::counter;
use crate::kv::mutant::{self, Mutant};
use crate::kv::row::{LocalDot, Row};
use crate::kv::space::{Space, decode_row};

/// A row as the peers may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// What a part held when it was given away.
    pub(crate) cum: i64,
    /// The row without the own events that were not given away.
    pub(crate) row: Row,
}

impl Sent {
    /// The row of SENT at a path.
    pub(crate) fn at(space: &Space, path: &[u8]) -> Result<Option<Self>> {
        let bytes = space.backend().get(space.tables.sent(), path)?;
        bytes.as_ref().map(Self::decode).transpose()
    }

    /// Keeps a row that an own transaction is about to change, if it was not changed since it was given away.
    pub(crate) fn keep(space: &Space, commit: &mut Commit, path: &Bytes, before: &Row) -> Result<()> {
        let emitted = commit.meta.emitted;
        let is_unsent = |dot: LocalDot| Some(dot.replica) == commit.meta.me && dot.seq > emitted;
        if before.is_empty() || before.dots().any(is_unsent) || mutant::is(Mutant::SentNotKept) {
            return Ok(());
        }
        if commit.meta.sent > 0 && Self::at(space, path)?.is_some() {
            return Ok(());
        }
        let cum = counter::last(before).and_then(counter::frame_and_sum).map_or(0, |(_frame, cum)| cum);
        Self { cum, row: before.clone() }.put(commit, path, true);
        Ok(())
    }

    /// Writes it: a row that is new in SENT, or one that a peer has changed.
    pub(crate) fn put(&self, commit: &mut Commit, path: &Bytes, is_new: bool) {
        if !is_new && mutant::is(Mutant::SentNotJoined) {
            return;
        }
        let mut to = Writer::new();
        to.i64(self.cum);
        if !self.row.is_empty() {
            to.raw(&self.row.encode());
        }
        commit.set_sent(path, is_new, Bytes::from(to.into_vec()));
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self> {
        let mut from = Reader::new(bytes);
        let cum = from.i64().map_err(Error::corrupt("SENT"))?;
        let rest = bytes.slice(from.position()..);
        let row = if rest.is_empty() { Row::default() } else { decode_row(&rest)? };
        Ok(Self { cum, row })
    }
}

//! Where the tables of a space lie.

use crate::storage::{LogId, TableId};

/// The tables of one space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    number: u32,
}

impl Tables {
    /// How many table numbers a space has.
    const EACH: u32 = 16;
    /// What belongs to the whole file.
    pub(crate) const FILE: TableId = TableId(0);
    /// The most spaces of a file.
    pub(crate) const SPACES_MAX: u32 = u32::MAX / Self::EACH - 1;

    /// Of the space with a number, from 1.
    pub(crate) const fn of(number: u32) -> Self {
        Self { number }
    }

    pub(crate) const fn meta(self) -> TableId {
        TableId(self.number * Self::EACH)
    }

    pub(crate) const fn rows(self) -> TableId {
        TableId(self.number * Self::EACH + 1)
    }

    /// The application's own keys.
    pub(crate) const fn local(self) -> TableId {
        TableId(self.number * Self::EACH + 2)
    }

    /// Reset rows that are addressed to this replica, by path: it takes them into account at its next commit.
    pub(crate) const fn resets(self) -> TableId {
        TableId(self.number * Self::EACH + 3)
    }

    /// This replica's own counter rows as the peers may know them, by path, while they differ from ROWS.
    pub(crate) const fn sent(self) -> TableId {
        TableId(self.number * Self::EACH + 4)
    }

    /// Frames of deltas on their way in. No state: see `stage.rs`.
    pub(crate) const fn stage(self) -> TableId {
        TableId(self.number * Self::EACH + 15)
    }

    /// Every ordered table, but what is staged for a merge.
    #[cfg(feature = "redb")]
    pub(crate) fn ordered(self) -> impl Iterator<Item = TableId> {
        (0..5).map(move |table| TableId(self.number * Self::EACH + table))
    }

    /// Every log of a space with so many replicas.
    #[cfg(feature = "redb")]
    pub(crate) fn logs(self, replicas: u32) -> impl Iterator<Item = LogId> {
        (0..replicas).map(move |replica| self.events(replica)).chain([self.dead(), self.marks()])
    }

    pub(crate) const fn events(self, replica: u32) -> LogId {
        LogId { table: self.number * Self::EACH, lane: replica }
    }

    /// The dots that a commit has dropped, by number of the commit: their Write events are erased later.
    pub(crate) const fn dead(self) -> LogId {
        LogId { table: self.number * Self::EACH + 1, lane: 0 }
    }

    /// The hash of this replica's own history, by the number of the last event that was given away with it.
    pub(crate) const fn marks(self) -> LogId {
        LogId { table: self.number * Self::EACH + 2, lane: 0 }
    }
}

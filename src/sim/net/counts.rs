//! What has happened in a simulated network.

use std::fmt;
use std::ops::AddAssign;

/// Frames and faults of a simulated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NetCounts {
    /// Frames sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that arrived, each copy counted.
    pub delivered: u64,
    /// Frames lost on their way.
    pub lost: u64,
    /// Frames that came twice.
    pub repeated: u64,
    /// Frames lost since the link was cut.
    pub cut_off: u64,
    /// Links cut.
    pub cuts: u64,
    /// Nodes stopped and started again.
    pub restarts: u64,
    /// Nodes whose power was cut.
    pub crashes: u64,
    /// Clocks set ahead or back.
    pub skews: u64,
    /// Deletes forgotten.
    pub truncations: u64,
    /// Stores that were lost, and came back as they were earlier.
    pub restores: u64,
    /// Copies of stores that were opened beside their originals.
    pub clones: u64,
    /// Stores that found out that they are copies, and took new ids.
    pub new_ids: u64,
}

impl NetCounts {
    /// How many faults there were.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        let frames = self.lost + self.repeated + self.cut_off;
        let nodes = self.restarts + self.crashes + self.skews + self.restores + self.clones;
        frames + nodes + self.cuts + self.truncations
    }
}

impl AddAssign for NetCounts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.bytes += other.bytes;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.cut_off += other.cut_off;
        self.cuts += other.cuts;
        self.restarts += other.restarts;
        self.crashes += other.crashes;
        self.skews += other.skews;
        self.truncations += other.truncations;
        self.restores += other.restores;
        self.clones += other.clones;
        self.new_ids += other.new_ids;
    }
}

impl fmt::Display for NetCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, bytes, delivered, lost, repeated, cut_off, cuts, restarts, crashes, skews, truncations, .. } = self;
        let Self { restores, clones, new_ids, .. } = self;
        write!(
            f,
            "{sent} frames of {bytes} bytes, {delivered} delivered; {lost} lost, {repeated} repeated, {cut_off} cut off; {cuts} links cut, \
             {restarts} restarts, {crashes} crashes, {skews} clocks set, {truncations} truncations; \
             {restores} stores restored, {clones} cloned, {new_ids} new ids"
        )
    }
}

/// What engines have sent, in transactions and rows. From [`Network::sent`](super::Network::sent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SentCounts {
    /// Transactions that were pushed, for each link that they went over.
    pub transactions: u64,
    /// Those of them that had gone over the same link in the same direction since it came up.
    pub transactions_again: u64,
    /// Rows, in pushed transactions and in answers, for each link that they went over. A row that is only named, since the receiver has
    /// it, is not counted.
    pub rows: u64,
    /// Those of them that had gone over the same link in the same direction since it came up.
    pub rows_again: u64,
}

//! Operations on a disk, and which of them survive a power loss.

use core::ops::Range;
use std::sync::Arc;

use super::SECTOR;
use crate::laws::Rng;

/// One operation.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write {
        at: usize,
        bytes: Arc<[u8]>,
    },
    SetLen(usize),
    /// An honest one.
    Sync,
}

impl Op {
    /// Up to where it reaches.
    pub(super) fn end(&self) -> usize {
        match self {
            Self::Write { at, bytes } => at + bytes.len(),
            Self::SetLen(len) => *len,
            Self::Sync => 0,
        }
    }

    /// The sectors that it writes to.
    pub(super) fn sectors(&self) -> Range<usize> {
        match self {
            Self::Write { at, bytes } if !bytes.is_empty() => at / SECTOR..self.end().div_ceil(SECTOR),
            Self::Write { .. } | Self::SetLen(_) | Self::Sync => 0..0,
        }
    }

    pub(super) fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write(to, *at, bytes),
            Self::SetLen(len) => to.resize(*len, 0),
            Self::Sync => {}
        }
    }

    /// Writes only the sectors that `survives` wants.
    fn apply_sectors(&self, to: &mut Vec<u8>, mut survives: impl FnMut() -> bool) {
        let Self::Write { at, bytes } = self else { return };
        for sector in self.sectors().filter(|_sector| survives()) {
            let (from, end) = ((sector * SECTOR).max(*at), ((sector + 1) * SECTOR).min(self.end()));
            write(to, from, &bytes[from - at..end - at]);
        }
    }
}

fn write(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if end > to.len() {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

/// What a power loss leaves: all that was durable, and of what was not any part. Of two writes to one sector the later one
/// wins, if both survive.
pub(super) fn survivors(durable: &[u8], pending: &[Op], rng: &mut Rng) -> Vec<u8> {
    let mut left = durable.to_vec();
    match rng.below(8) {
        // Nothing.
        0 => {}
        // Everything.
        1 => pending.iter().for_each(|op| op.apply(&mut left)),
        // In the order of the calls up to somewhere, and of the next one a first part.
        2 | 3 => {
            let whole = rng.index(pending.len());
            pending.iter().take(whole).for_each(|op| op.apply(&mut left));
            if let Some(torn) = pending.get(whole) {
                let mut sectors = rng.index(torn.sectors().len() + 1);
                torn.apply_sectors(&mut left, || sectors.checked_sub(1).map(|rest| sectors = rest).is_some());
            }
        }
        // Any operation, or not.
        4 | 5 => {
            let percent = [10, 50, 90].get(rng.index(3)).copied().unwrap_or(50);
            pending.iter().filter(|_op| rng.chance(percent)).for_each(|op| op.apply(&mut left));
        }
        // Any sector of any write, or not.
        _ => {
            let percent = [10, 50, 90, 99].get(rng.index(4)).copied().unwrap_or(50);
            for op in pending {
                match op {
                    Op::Write { .. } => op.apply_sectors(&mut left, || rng.chance(percent)),
                    Op::SetLen(_) if rng.chance(percent) => op.apply(&mut left),
                    Op::SetLen(_) | Op::Sync => {}
                }
            }
        }
    }
    left
}

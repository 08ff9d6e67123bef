//! Ranges that hold nothing, which most ordered maps refuse with a panic.

use core::ops::Bound;

use super::KeyRange;

/// Whether no key can lie in `range`, whatever the table: its start is above its end, or they meet at a key that one of them
/// excludes.
pub(super) fn nothing_between(range: KeyRange<'_>) -> bool {
    match range {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start >= end,
    }
}

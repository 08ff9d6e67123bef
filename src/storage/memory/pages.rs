//! Iterators that own the state they read, a page at a time.
//!
//! An iterator over a persistent map borrows the map. One over the newest state cannot borrow it, since the next commit
//! replaces it; so it holds a clone, and looks up where to go on once in a page.

use core::ops::{Bound, RangeInclusive};
use std::collections::VecDeque;

use bytes::Bytes;
use imbl::OrdMap;

use super::super::LogId;
use super::super::range::nothing_between;
use super::State;

/// Items in the first page. Small, since many ranges are read for their first items only.
const PAGE_LEN_MIN: usize = 8;
/// Items in a page after the first few.
const PAGE_LEN_MAX: usize = 128;

/// Which end of the range a page is taken from.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

type Between<K> = (Bound<K>, Bound<K>);

/// Up to `usize` items of a range from one end: those nearest to that end first.
type ReadPage<K> = dyn Fn(&Between<K>, End, usize) -> Vec<(K, Bytes)>;

/// Keys with their values, of a state that the iterator owns.
pub(super) struct Pages<K> {
    read: Box<ReadPage<K>>,
    /// What neither buffer has had yet. `None`: nothing is left there.
    rest: Option<Between<K>>,
    /// Items before `rest`, in order.
    front: VecDeque<(K, Bytes)>,
    /// Items after `rest`, in order.
    back: VecDeque<(K, Bytes)>,
    page_len: usize,
}

impl Pages<Bytes> {
    pub(super) fn of_rows(rows: OrdMap<Bytes, Bytes>, range: Between<Bytes>) -> Self {
        Self::new(range, move |(start, end), from, len| {
            let range = (as_slice(start), as_slice(end));
            if nothing_between(range) {
                return Vec::new();
            }
            let rows = rows.range::<_, [u8]>(range).map(|(key, value)| (key.clone(), value.clone()));
            page(rows, from, len)
        })
    }
}

impl Pages<u64> {
    /// Precondition: `numbers` is not empty.
    pub(super) fn of_entries(state: State, log: LogId, numbers: RangeInclusive<u64>) -> Self {
        let (first, last) = numbers.into_inner();
        Self::new((Bound::Included(first), Bound::Included(last)), move |&(start, end), from, len| {
            let Some((first, last)) = numbers_between(start, end) else {
                return Vec::new();
            };
            page(state.entries_between(log, first, last), from, len)
        })
    }
}

impl<K: Clone> Pages<K> {
    fn new(range: Between<K>, read: impl Fn(&Between<K>, End, usize) -> Vec<(K, Bytes)> + 'static) -> Self {
        Self { read: Box::new(read), rest: Some(range), front: VecDeque::new(), back: VecDeque::new(), page_len: PAGE_LEN_MIN }
    }

    /// Reads the next page from one end of the rest into that end's buffer.
    fn fetch(&mut self, from: End) {
        let Some(rest) = &mut self.rest else { return };
        let page = (self.read)(rest, from, self.page_len);
        let Some((nearest_to_rest, _)) = page.last() else {
            self.rest = None;
            return;
        };
        let bound = Bound::Excluded(nearest_to_rest.clone());
        let whole = page.len() == self.page_len;
        match from {
            End::Front => {
                rest.0 = bound;
                self.front.extend(page);
            }
            End::Back => {
                rest.1 = bound;
                for item in page {
                    self.back.push_front(item);
                }
            }
        }
        if !whole {
            self.rest = None;
        }
        self.page_len = (self.page_len * 2).min(PAGE_LEN_MAX);
    }
}

impl<K: Clone> Iterator for Pages<K> {
    type Item = (K, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        if self.front.is_empty() {
            self.fetch(End::Front);
        }
        self.front.pop_front().or_else(|| self.back.pop_front())
    }
}

impl<K: Clone> DoubleEndedIterator for Pages<K> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_empty() {
            self.fetch(End::Back);
        }
        self.back.pop_back().or_else(|| self.front.pop_back())
    }
}

fn page<T>(items: impl DoubleEndedIterator<Item = T>, from: End, len: usize) -> Vec<T> {
    match from {
        End::Front => items.take(len).collect(),
        End::Back => items.rev().take(len).collect(),
    }
}

fn as_slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    bound.as_ref().map(AsRef::as_ref)
}

/// The first and the last number between two bounds, if there is any.
fn numbers_between(start: Bound<u64>, end: Bound<u64>) -> Option<(u64, u64)> {
    let first = match start {
        Bound::Included(number) => number,
        Bound::Excluded(number) => number.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let last = match end {
        Bound::Included(number) => number,
        Bound::Excluded(number) => number.checked_sub(1)?,
        Bound::Unbounded => u64::MAX,
    };
    (first <= last).then_some((first, last))
}

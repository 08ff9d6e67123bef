//! Walks over a range of rows, from both ends, without holding on to an iterator of the backend.
//!
//! Rows come in pages that grow, so that the first row is cheap and a long walk is too.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;

use super::error::Result;
use super::path::{PART_MIN, after_prefix};
use super::place::sealed::Reads;
use super::row::Row;

/// A range of paths.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    lo: Bound<Vec<u8>>,
    hi: Bound<Vec<u8>>,
}

impl Range {
    /// All paths that begin with `prefix`; with none, those of all keys, and no row of the store's own.
    pub(crate) fn prefix(prefix: &[u8]) -> Self {
        let hi = after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        let lo = if prefix.is_empty() { vec![PART_MIN] } else { prefix.to_vec() };
        Self { lo: Bound::Included(lo), hi }
    }

    /// The rows of exactly one key or field, of every kind: `key` and a kind byte behind it.
    pub(crate) fn key(key: &[u8]) -> Self {
        let with = |byte: u8| [key, &[byte]].concat();
        Self { lo: Bound::Included(with(0)), hi: Bound::Excluded(with(PART_MIN)) }
    }

    /// Keeps what lies between two bounds.
    pub(crate) fn between(self, lo: Bound<Vec<u8>>, hi: Bound<Vec<u8>>) -> Self {
        Self { lo: tighter(self.lo, lo, true), hi: tighter(self.hi, hi, false) }
    }

    pub(crate) fn start_at(&mut self, lo: Bound<Vec<u8>>) {
        self.lo = lo;
    }

    pub(crate) fn end_at(&mut self, hi: Bound<Vec<u8>>) {
        self.hi = hi;
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.lo.as_ref().map(Vec::as_slice), self.hi.as_ref().map(Vec::as_slice))
    }

    /// Whether nothing can lie in it. Ordered maps refuse such ranges.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.lo, &self.hi) {
            (Bound::Included(lo), Bound::Included(hi)) => lo > hi,
            (Bound::Included(lo) | Bound::Excluded(lo), Bound::Excluded(hi)) | (Bound::Excluded(lo), Bound::Included(hi)) => {
                lo >= hi
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

fn tighter(a: Bound<Vec<u8>>, b: Bound<Vec<u8>>, lower: bool) -> Bound<Vec<u8>> {
    let (x, y) = match (&a, &b) {
        (Bound::Unbounded, _) => return b,
        (_, Bound::Unbounded) => return a,
        (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => (x, y),
    };
    let first_is_tighter = match x.cmp(y) {
        Ordering::Equal => matches!(a, Bound::Excluded(_)),
        Ordering::Greater => lower,
        Ordering::Less => !lower,
    };
    if first_is_tighter { a } else { b }
}

/// A walk over a range. `P` is where the rows are.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<P> {
    pub(crate) place: P,
    /// What neither end has fetched.
    range: Range,
    front: VecDeque<(Bytes, Row)>,
    back: VecDeque<(Bytes, Row)>,
    page: usize,
    /// A page could not be read: the walk has told so, and is over.
    failed: bool,
}

impl<P: Reads> Cursor<P> {
    const PAGE_FIRST: usize = 8;
    const PAGE_MAX: usize = 256;

    pub(crate) const fn new(place: P, range: Range) -> Self {
        Self { place, range, front: VecDeque::new(), back: VecDeque::new(), page: Self::PAGE_FIRST, failed: false }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Row)>> {
        if self.front.is_empty() {
            self.front = self.fetch(false)?;
            if let Some((last, _)) = self.front.back() {
                self.range.start_at(Bound::Excluded(last.to_vec()));
            }
        }
        Ok(self.front.pop_front().or_else(|| self.back.pop_back()))
    }

    pub(crate) fn next_back(&mut self) -> Result<Option<(Bytes, Row)>> {
        if self.back.is_empty() {
            self.back = self.fetch(true)?;
            if let Some((last, _)) = self.back.back() {
                self.range.end_at(Bound::Excluded(last.to_vec()));
            }
        }
        Ok(self.back.pop_front().or_else(|| self.front.pop_back()))
    }

    fn fetch(&mut self, from_back: bool) -> Result<VecDeque<(Bytes, Row)>> {
        if self.failed {
            return Ok(VecDeque::new());
        }
        let rows = self.place.rows(&self.range, from_back, self.page).inspect_err(|_error| self.failed = true)?;
        self.page = (self.page * 2).min(Self::PAGE_MAX);
        Ok(rows.into())
    }

    /// Goes on at `end`: over the rest of a large key without reading it.
    pub(crate) fn skip_to(&mut self, end: &[u8]) {
        while self.front.front().is_some_and(|(path, _row)| **path < *end) {
            self.front.pop_front();
        }
        if self.front.is_empty() {
            self.range = self.range.clone().between(Bound::Included(end.to_vec()), Bound::Unbounded);
            while self.back.back().is_some_and(|(path, _row)| **path < *end) {
                self.back.pop_back();
            }
        }
    }

    /// As [`skip_to`](Self::skip_to), from the back: goes on below `start`.
    pub(crate) fn skip_back_to(&mut self, start: &[u8]) {
        while self.back.front().is_some_and(|(path, _row)| **path >= *start) {
            self.back.pop_front();
        }
        if self.back.is_empty() {
            self.range = self.range.clone().between(Bound::Unbounded, Bound::Excluded(start.to_vec()));
            while self.front.back().is_some_and(|(path, _row)| **path >= *start) {
                self.front.pop_back();
            }
        }
    }
}

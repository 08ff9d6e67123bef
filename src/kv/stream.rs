//! A commit whose writes are made while the backend takes them, so that it may be larger than memory.

use std::io;
use std::vec;

use crate::storage::Write;

use super::commit::Commit;
use super::error::{Error, Result};
use super::meta::Meta;
use super::watch::Changed;

/// The writes of a commit, step by step.
pub(crate) struct Streamed<S> {
    /// `None` once it is complete.
    commit: Option<Commit>,
    step: S,
    ready: vec::IntoIter<Write>,
    /// The state after the commit, how many rows changed, and what to tell of it.
    done: Option<(Meta, u64, Changed)>,
    error: Option<Error>,
}

impl<S: FnMut(&mut Commit) -> Result<bool>> Streamed<S> {
    /// `step` adds to the commit, and returns whether there is more to add.
    pub(crate) fn new(commit: Commit, step: S) -> Self {
        Self { commit: Some(commit), step, ready: Vec::new().into_iter(), done: None, error: None }
    }

    /// Why no more writes could be made, as it was.
    pub(crate) const fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// The state after the commit, how many rows changed, and what to tell of it.
    pub(crate) fn into_meta(self) -> Result<(Meta, u64, Changed)> {
        self.done.ok_or_else(|| Error::Io(io::Error::other("the backend did not take all writes of a commit")))
    }

    /// Makes more writes. `false`: there are no more.
    fn more(&mut self) -> Result<bool> {
        let Some(mut commit) = self.commit.take() else { return Ok(false) };
        if (self.step)(&mut commit)? {
            self.ready = commit.take_writes().into_iter();
            self.commit = Some(commit);
        } else {
            let rows = commit.rows_changed;
            let (writes, meta, changed) = commit.finish();
            self.ready = writes.into_iter();
            self.done = Some((meta, rows, changed));
        }
        Ok(true)
    }
}

impl<S: FnMut(&mut Commit) -> Result<bool>> Iterator for Streamed<S> {
    type Item = io::Result<Write>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(write) = self.ready.next() {
                return Some(Ok(write));
            }
            match self.more() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    let said = io::Error::other(error.to_string());
                    self.error = Some(error);
                    return Some(Err(said));
                }
            }
        }
    }
}

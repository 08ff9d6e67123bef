//! Who watches a space, and what each of them has not been told yet.
//!
//! ```text
//! commit n ── published, settled ──▶ notify(n) ──▶ Mailbox: keys of commits up to n, each once     in the order of commits
//!                                                     │
//!                watcher: a snapshot at commit c ─────┴─▶ once n >= c: the keys of commits up to c; later ones stay
//! ```
//!
//! The snapshot comes first, and what is told with it is cut at its commit: so a commit that comes between the two is in the next
//! batch, whole, and a snapshot is told of only when every commit in it has been.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::Change;
use super::collect::{CAP, Changed, ChangedKey};
use super::pending::Pending;
use crate::kv::mutant::{self, Mutant};

/// Why nothing more is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Every handle of the store is gone.
    Dropped,
    /// The store was closed by a failure.
    Failed,
}

/// Everybody who watches a space.
#[derive(Debug)]
pub(crate) struct Watchers {
    /// How many there are: whoever makes a commit looks here, without the lock.
    count: AtomicUsize,
    all: Mutex<All>,
}

#[derive(Debug)]
struct All {
    mailboxes: Vec<Arc<Mailbox>>,
    /// The last commit that was told of.
    notified: u64,
    end: Option<End>,
}

impl Watchers {
    /// `commit`: the newest one when the space was opened.
    pub(crate) const fn new(commit: u64) -> Self {
        Self { count: AtomicUsize::new(0), all: Mutex::new(All { mailboxes: Vec::new(), notified: commit, end: None }) }
    }

    /// Whether a commit needs to note what it changes. A watcher that comes after the answer is told that anything may have changed.
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Tells of a commit: of every one, in their order, once readers see it and it is as durable as it asked to be. Cost: the keys that
    /// changed, for each watcher. Wake them when no lock is held.
    pub(crate) fn notify(&self, changed: &Changed) -> Wake {
        let mut all = self.all.lock();
        all.notified = changed.commit;
        Wake(all.mailboxes.iter().filter_map(|mailbox| mailbox.hear(changed)).collect())
    }

    /// Tells that nothing more will be told.
    pub(crate) fn end(&self, end: End) -> Wake {
        let mut all = self.all.lock();
        let end = *all.end.get_or_insert(end);
        Wake(all.mailboxes.iter().filter_map(|mailbox| mailbox.end(end)).collect())
    }

    /// One more, of the keys that begin with `prefix`.
    pub(super) fn add(&self, prefix: &[u8]) -> Arc<Mailbox> {
        let mut all = self.all.lock();
        let state = State {
            pending: Pending::new(CAP),
            all_at: Some(0),
            notified: all.notified,
            held: None,
            end: all.end,
            waker: None,
        };
        let mailbox = Arc::new(Mailbox { prefix: prefix.into(), state: Mutex::new(state), changed: Condvar::new() });
        all.mailboxes.push(Arc::clone(&mailbox));
        self.count.store(all.mailboxes.len(), Ordering::Release);
        mailbox
    }

    pub(super) fn remove(&self, mailbox: &Arc<Mailbox>) {
        let mut all = self.all.lock();
        all.mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
        self.count.store(all.mailboxes.len(), Ordering::Release);
    }
}

/// Tasks to wake. What a waker does is not ours, so it must not be done below a lock.
#[derive(Debug)]
#[must_use = "a task that is not woken waits for ever"]
pub(crate) struct Wake(Vec<Waker>);

impl Wake {
    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

/// What one watcher has not been told yet.
#[derive(Debug)]
pub(super) struct Mailbox {
    prefix: Box<[u8]>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    pending: Pending,
    /// Everything may have changed, up to this commit: keys are not enough. At first, and after a lag.
    all_at: Option<u64>,
    /// The last commit that was told of.
    notified: u64,
    /// The watcher has a snapshot of this commit, and waits until that was told of.
    held: Option<u64>,
    end: Option<End>,
    waker: Option<Waker>,
}

impl State {
    fn is_ready(&self) -> bool {
        let has_news = match self.held {
            Some(commit) => self.notified >= commit,
            None => self.all_at.is_some() || !self.pending.is_empty(),
        };
        has_news || self.end.is_some()
    }

    fn hear(&mut self, prefix: &[u8], commit: u64, keys: Option<&[ChangedKey]>) {
        let Some(keys) = keys else {
            self.lag(commit);
            return;
        };
        for key in keys.iter().filter(|key| key.key.starts_with(prefix)) {
            // A snapshot with everything that is still to be taken will have it.
            if self.all_at.is_some() && self.held.is_none_or(|held| commit <= held) {
                self.all_at = Some(commit);
            } else if !self.pending.touch(&key.key, key.by, key.conflict, commit) {
                self.lag(commit);
                return;
            }
        }
    }

    fn lag(&mut self, commit: u64) {
        self.pending.clear();
        self.all_at = Some(commit);
    }
}

/// What there is to tell.
pub(super) enum News {
    None,
    Some,
    End(End),
}

/// What is told with a snapshot.
pub(super) enum Told {
    Keys(Vec<Change>),
    All,
}

impl Mailbox {
    /// Takes in a commit. Returns the task to wake.
    fn hear(&self, changed: &Changed) -> Option<Waker> {
        let mut state = self.state.lock();
        state.notified = changed.commit;
        state.hear(&self.prefix, changed.commit, changed.keys.as_deref());
        if !state.is_ready() {
            return None;
        }
        self.changed.notify_all();
        state.waker.take()
    }

    fn end(&self, end: End) -> Option<Waker> {
        let mut state = self.state.lock();
        state.end = Some(end);
        state.pending.clear();
        self.changed.notify_all();
        state.waker.take()
    }

    pub(super) fn news(&self) -> News {
        let state = self.state.lock();
        match state.end {
            Some(end) => News::End(end),
            None if state.is_ready() => News::Some,
            None => News::None,
        }
    }

    /// What to tell with a snapshot of a commit. `None`: wait until that commit was told of.
    pub(super) fn open(&self, commit: u64) -> Option<Told> {
        let mut state = self.state.lock();
        if state.notified < commit {
            state.held = Some(commit);
            return None;
        }
        state.held = None;
        let cut = if mutant::is(Mutant::MarkAfterRead) { state.notified } else { commit };
        let keys = state.pending.take_up_to(cut);
        let Some(at) = state.all_at else { return Some(Told::Keys(keys)) };
        if at <= cut {
            state.all_at = None;
        }
        Some(Told::All)
    }

    /// Waits for something to tell, until a deadline. Returns whether there is.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        match deadline {
            Some(deadline) => {
                self.changed.wait_while_until(&mut state, |state| !state.is_ready(), deadline);
            }
            None => self.changed.wait_while(&mut state, |state| !state.is_ready()),
        }
        state.is_ready()
    }

    /// Leaves a task to wake. `false`: there is something to tell already.
    pub(super) fn wake_later(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        if state.is_ready() {
            return false;
        }
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        true
    }
}

//! What a space has that those who pass it on have not been told: its own transactions, in the order of its commits.
//!
//! ```text
//! commit n ── durable ──▶ tell(n) ──▶ Feed: the transaction, if it is one of this replica's own; else only that something is new
//! ```
//!
//! A feed that is not emptied forgets transactions and says that something is new: who passes them on then asks for a delta, as
//! after any other loss.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::causal::Transaction;

use super::space::Space;

/// Everybody who passes on what a space commits.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    /// How many there are: whoever makes a commit looks here, without the lock.
    count: AtomicUsize,
    all: Mutex<Vec<Arc<Shared>>>,
}

impl Feeds {
    pub(crate) fn are_there(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Tells of a commit that is durable: of this replica's own with its transaction. Call what it returns when no lock is held.
    pub(crate) fn tell(&self, transaction: Option<&Transaction>) -> Vec<FeedWaker> {
        let all = self.all.lock();
        all.iter().filter(|shared| shared.hear(transaction)).map(|shared| Arc::clone(&shared.wake)).collect()
    }
}

/// Called when there is something in a feed that was empty.
pub(crate) type FeedWaker = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    news: Mutex<News>,
    wake: FeedWaker,
}

impl Shared {
    /// Returns whether somebody must be woken.
    fn hear(&self, transaction: Option<&Transaction>) -> bool {
        /// What waits to be passed on. The memory for it is bounded.
        const BYTES_MAX: usize = 4 << 20;
        let mut news = self.news.lock();
        let was_empty = news.is_empty();
        let bytes = news.bytes + transaction.map_or(0, Transaction::weight);
        match transaction {
            Some(transaction) if bytes <= BYTES_MAX => {
                news.transactions.push(transaction.clone());
                news.bytes = bytes;
            }
            Some(_) | None => news.moved = true,
        }
        was_empty
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("news", &*self.news.lock()).finish_non_exhaustive()
    }
}

/// What was committed since the last look.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// This replica's own transactions, in order.
    pub(crate) transactions: Vec<Transaction>,
    /// There is more than these: a merge, or what does not fit.
    pub(crate) moved: bool,
    bytes: usize,
}

impl News {
    fn is_empty(&self) -> bool {
        self.transactions.is_empty() && !self.moved
    }
}

/// Hears of every commit of a space, as long as it is there. From then on each own transaction is noted as given away in its commit.
#[derive(Debug)]
pub(crate) struct Feed {
    space: Arc<Space>,
    shared: Arc<Shared>,
}

impl Feed {
    pub(crate) fn new(space: &Arc<Space>, wake: FeedWaker) -> Self {
        let shared = Arc::new(Shared { news: Mutex::default(), wake });
        let mut all = space.feeds.all.lock();
        all.push(Arc::clone(&shared));
        space.feeds.count.store(all.len(), Ordering::Release);
        drop(all);
        Self { space: Arc::clone(space), shared }
    }

    /// What is new. Everything in it is durable.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.shared.news.lock())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut all = self.space.feeds.all.lock();
        all.retain(|other| !Arc::ptr_eq(other, &self.shared));
        self.space.feeds.count.store(all.len(), Ordering::Release);
    }
}

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

use super::push::Draft;
use super::space::Space;

/// Everybody who passes on what a space commits.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    /// How many of them want transactions: whoever makes a commit looks here, without the lock.
    live: AtomicUsize,
    all: Mutex<Vec<Arc<Shared>>>,
}

impl Feeds {
    /// Whether a transaction goes to peers at once, and so counts as given away.
    pub(crate) fn are_live(&self) -> bool {
        self.live.load(Ordering::Acquire) > 0
    }

    /// Tells of a commit that is durable: of this replica's own with its transaction. Call what it returns when no lock is held.
    pub(crate) fn tell(&self, own: Option<&Draft>) -> Vec<FeedWaker> {
        let all = self.all.lock();
        if all.is_empty() {
            return Vec::new();
        }
        let transaction = own.and_then(Draft::encode);
        let transaction = transaction.as_ref();
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

/// Hears of every commit of a space, as long as it is there. While it is live, each own transaction is noted as given away in its commit.
#[derive(Debug)]
pub(crate) struct Feed {
    space: Arc<Space>,
    shared: Arc<Shared>,
    is_live: bool,
}

impl Feed {
    pub(crate) fn new(space: &Arc<Space>, wake: FeedWaker) -> Self {
        let shared = Arc::new(Shared { news: Mutex::default(), wake });
        space.feeds.all.lock().push(Arc::clone(&shared));
        Self { space: Arc::clone(space), shared, is_live: false }
    }

    /// Whether it wants transactions, and not only to hear that there is something.
    pub(crate) fn set_live(&mut self, is_live: bool) {
        let live = &self.space.feeds.live;
        match (self.is_live, is_live) {
            (false, true) => drop(live.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(live.fetch_sub(1, Ordering::AcqRel)),
            (true, true) | (false, false) => {}
        }
        self.is_live = is_live;
    }

    /// What is new. Everything in it is durable.
    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.shared.news.lock())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.set_live(false);
        self.space.feeds.all.lock().retain(|other| !Arc::ptr_eq(other, &self.shared));
    }
}

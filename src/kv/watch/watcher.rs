//! The watcher's end: a blocking iterator, a wait with a timeout, a future, a stream.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::registry::{End, Mailbox, News, Told, Watchers};
use super::{Change, Changes};
use crate::codec::key::{Key, KeyWriter};
use crate::kv::cursor::{Cursor, Range};
use crate::kv::error::{Error, Result};
use crate::kv::kinds::in_conflict;
use crate::kv::path::Parsed;
use crate::kv::snapshot::Snapshot;
use crate::kv::space::Space;

/// Tells what changes in a store, from [`Store::watch`](crate::Store::watch).
///
/// The first batch is [`Changes::All`]: whoever starts with it misses nothing and sees nothing twice. Every other one names the keys
/// that may differ from the batch before, in the order of commits and once they are as durable as they were to be. Changes that nobody
/// has fetched yet are told together: a watcher sees every key that changed, and not every value that it had.
///
/// What is [`Deferred`](crate::kv::Durability::Deferred) so is told at once, and a crash may take it back. Where there is such a thing,
/// call [`Store::sync`](crate::Store::sync) before you keep the [version](crate::kv::Snapshot::version) of a batch anywhere else.
///
/// A watcher that is slow holds up nobody. Up to 65,536 keys (or 16 MiB of them) wait for it; beyond, the next batch is
/// [`Changes::All`].
///
/// Fetch batches by whatever fits: a blocking iterator, [`wait`](Self::wait) with a timeout, [`changed`](Self::changed) in any
/// async runtime, or a `Stream` with the feature `stream`.
///
/// It does not keep the store open: with the store's last handle it ends, and what it has not told by then it does not tell. (Whoever
/// must miss nothing even so uses [`Store::changes_since`](crate::Store::changes_since).) If the store fails, it gives the error once,
/// and ends. Dropping it is enough to stop.
///
/// ```
/// use tombolo::Store;
///
/// # fn main() -> tombolo::Result<()> {
/// let store = Store::in_memory();
/// store.register::<String>(("note", 7)).set("Groceries")?;
///
/// // Mostly in a thread of its own: `for changes in store.watch("note")`.
/// let mut notes = store.watch("note");
/// let all = notes.next().expect("at first everything")?;
/// assert_eq!(all.snapshot().scan("note").count(), 1);
///
/// store.register::<String>(("note", 8)).set("Shopping")?;
/// store.register::<String>(("note", 8)).set("Hardware store")?;
/// store.counter("not a note").add(1)?;
/// let batch = notes.next().expect("the store is there")?;
/// let keys = batch.keys().expect("not everything");
/// assert_eq!(keys.len(), 1);
/// let title = batch.snapshot().register::<String>(&keys[0].key).get()?;
/// assert_eq!(title.as_deref(), Some("Hardware store"));
///
/// drop(store);
/// assert!(notes.next().is_none());
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    /// Not the store itself: a watcher that waits must not keep a file open that nobody can write to any more.
    space: Weak<Space>,
    pub(super) watchers: Arc<Watchers>,
    mailbox: Arc<Mailbox>,
    /// A snapshot that has commits which were not told of yet.
    held: Option<Snapshot>,
    is_over: bool,
}

/// What there is to give.
enum Next {
    Batch(Changes),
    Nothing,
    End,
}

impl Watch {
    pub(crate) fn new(space: &Arc<Space>, prefix: impl Key) -> Self {
        let mut to = KeyWriter::new();
        prefix.encode(&mut to);
        let watchers = Arc::clone(&space.watchers);
        let mailbox = watchers.add(to.as_slice());
        Self { space: Arc::downgrade(space), watchers, mailbox, held: None, is_over: false }
    }

    /// Waits for the next batch, at most so long. `None`: nothing has changed in that time.
    ///
    /// ```
    /// use std::time::Duration;
    /// # fn main() -> tombolo::Result<()> {
    /// # let store = tombolo::Store::in_memory();
    /// let mut watch = store.watch("note");
    /// let first = watch.wait(Duration::ZERO)?.expect("the first batch is there at once");
    /// assert!(first.keys().is_none());
    /// store.register::<String>(("note", 7)).set("Groceries")?;
    /// let batch = watch.wait(Duration::from_secs(1))?.expect("a note has changed");
    /// assert_eq!(batch.keys().expect("keys")[0].key.to_string(), r#"("note", 7)"#);
    /// assert!(watch.wait(Duration::ZERO)?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store is damaged, or the medium fails; then the watch has ended. If it has, always [`Error::Closed`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Changes>> {
        #[expect(clippy::disallowed_methods, reason = "how long the caller waits is no part of any state")]
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.take()? {
                Next::Batch(changes) => return Ok(Some(changes)),
                Next::End => return Err(Error::Closed),
                Next::Nothing => {
                    if !self.mailbox.wait_until(deadline) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The next batch, in any async runtime. `None`: the watch has ended. Dropping the future loses nothing.
    ///
    /// ```
    /// # fn main() -> tombolo::Result<()> {
    /// # let store = tombolo::Store::in_memory();
    /// let mut watch = store.watch(());
    /// let window = async move {
    ///     while let Some(changes) = watch.changed().await {
    ///         println!("{:?}", changes?.keys());
    ///     }
    ///     Ok::<(), tombolo::Error>(())
    /// };
    /// # drop(window);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store is damaged, it fails, or the medium does: once, and then it ends.
    pub async fn changed(&mut self) -> Option<Result<Changes>> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// As [`changed`](Self::changed), for whoever writes a future by hand.
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Changes>>> {
        loop {
            match self.take() {
                Ok(Next::Batch(changes)) => return Poll::Ready(Some(Ok(changes))),
                Ok(Next::End) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(Next::Nothing) => {
                    if self.mailbox.wake_later(context.waker()) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// What there is, without waiting. An error ends it.
    fn take(&mut self) -> Result<Next> {
        if self.is_over {
            return Ok(Next::End);
        }
        let next = self.take_unless_over();
        self.is_over = matches!(next, Err(_) | Ok(Next::End));
        if self.is_over {
            self.held = None;
            self.watchers.remove(&self.mailbox);
        }
        next
    }

    fn take_unless_over(&mut self) -> Result<Next> {
        loop {
            match self.mailbox.news() {
                News::None => return Ok(Next::Nothing),
                News::End(End::Dropped) => return Ok(Next::End),
                News::End(End::Failed) => return Err(Error::Closed),
                News::Some => {}
            }
            let snapshot = match self.held.take() {
                Some(snapshot) => snapshot,
                None => match self.space.upgrade() {
                    Some(space) => Snapshot::new(space.view()?),
                    None => return Ok(Next::End),
                },
            };
            match self.mailbox.open(snapshot.commit()) {
                None => self.held = Some(snapshot),
                Some(Told::All) => return Ok(Next::Batch(Changes::All { snapshot })),
                Some(Told::Keys(keys)) if keys.is_empty() => {}
                Some(Told::Keys(mut keys)) => {
                    keys.iter_mut().try_for_each(|change| look_again(&snapshot, change))?;
                    return Ok(Next::Batch(Changes::Since { snapshot, keys }));
                }
            }
        }
    }
}

/// A conflict may have ended before it was told.
fn look_again(snapshot: &Snapshot, change: &mut Change) -> Result<()> {
    if !change.conflict {
        return Ok(());
    }
    let mut cursor = Cursor::new(snapshot.clone(), Range::key(change.key.as_bytes()));
    while let Some((path, row)) = cursor.next()? {
        if in_conflict(Parsed::of(&path).map_err(Error::corrupt("ROWS"))?.leaf, &row) {
            return Ok(());
        }
    }
    change.conflict = false;
    Ok(())
}

/// Waits for each batch. It ends with the store.
impl Iterator for Watch {
    type Item = Result<Changes>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.take() {
                Ok(Next::Batch(changes)) => return Some(Ok(changes)),
                Ok(Next::End) => return None,
                Err(error) => return Some(Err(error)),
                Ok(Next::Nothing) => drop(self.mailbox.wait_until(None)),
            }
        }
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::Stream for Watch {
    type Item = Result<Changes>;

    fn poll_next(self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_changed(context)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.remove(&self.mailbox);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

//! How a store is opened.

use std::sync::Arc;

use crate::storage::{Backend, Memory};
use crate::system::{Clock, Entropy, Files, SystemClock, SystemEntropy, SystemFiles};

use super::error::Result;
#[cfg(feature = "redb")]
use super::file::Identity;
use super::file::{Durability, File};
use super::retention::Retention;
use super::store::Store;

/// The largest value that a transaction may write, encoded, in bytes.
pub const VALUE_MAX: usize = 1 << 20;

/// The largest payload that is taken from a peer. Above [`VALUE_MAX`] by what a register adds. Fixed by the protocol.
pub(crate) const PAYLOAD_HARD_MAX: usize = VALUE_MAX + 64;

/// The most replicas that a space may know, those that are long gone included. Fixed by the protocol: a delta names them all
/// in its first frame, at up to 64 bytes each.
pub(crate) const REPLICAS_MAX: usize = 1 << 17;

/// What a transaction may write. Limits bind the writer alone: what another replica has written is always taken.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// The most rows that one transaction touches. Default: 1,000,000.
    pub rows_per_transaction: u64,
    /// The largest value, encoded, in bytes. Default and most: [`VALUE_MAX`].
    pub value_bytes: u64,
    /// How far a stamp of another replica may be ahead of this clock and still move it, in milliseconds. Default: 60,000.
    /// A stamp beyond is stored and counted ([`Status::stamps_ahead`](super::Status::stamps_ahead)), and moves nothing.
    pub clock_drift_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows_per_transaction: 1_000_000, value_bytes: VALUE_MAX as u64, clock_drift_ms: 60_000 }
    }
}

/// What every part of a store needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) files: Arc<dyn Files>,
    /// How many bytes the making or the merging of a delta may hold, about.
    pub(crate) delta_memory: usize,
    /// The id that a space takes at its first write, instead of a random one.
    pub(crate) replica: Option<crate::causal::ReplicaId>,
    pub(crate) durability: Durability,
    pub(crate) read_only: bool,
    pub(crate) retention: Retention,
}

/// How a store is opened: from [`Store::options`].
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a store is opened with them"]
pub struct Options {
    space: String,
    settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        let settings = Settings {
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            files: Arc::new(SystemFiles),
            delta_memory: Self::DELTA_MEMORY,
            replica: None,
            durability: Durability::Immediate,
            read_only: false,
            retention: Retention::default(),
        };
        Self { space: Self::DEFAULT_SPACE.to_owned(), settings }
    }
}

impl Options {
    /// The name of the space that a store has if none was named.
    pub const DEFAULT_SPACE: &'static str = "default";

    /// How much memory the making or the merging of a delta takes if nothing else was said: 16 MiB.
    pub const DELTA_MEMORY: usize = 16 << 20;

    /// The space to open, by name. Stores of one name merge, wherever they are.
    ///
    /// ```
    /// let [a, b] = ["team", "family"].map(|name| tombolo::Store::options().space(name).in_memory());
    /// a.counter("visits").add(1)?;
    /// let refused = b.merge(a.delta_since(&b.version()?)?);
    /// assert!(matches!(refused, Err(tombolo::Error::WrongSpace { .. })));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn space(mut self, name: &str) -> Self {
        name.clone_into(&mut self.space);
        self
    }

    /// What a transaction may write.
    ///
    /// ```
    /// let mut limits = tombolo::kv::Limits::default();
    /// limits.value_bytes = 100;
    /// let store = tombolo::Store::options().limits(limits).in_memory();
    /// let refused = store.register::<String>("note").set(&"x".repeat(1_000));
    /// assert!(matches!(refused, Err(tombolo::Error::TooLarge { cap: 100, .. })));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// How many bytes of working memory the making or the merging of a delta takes at most, about: for what grows with the delta.
    /// With less of it, a large delta is read more often. [`Store::merge_from`] says what comes on top.
    pub const fn delta_memory(mut self, bytes: usize) -> Self {
        self.settings.delta_memory = bytes;
        self
    }

    /// How much is kept of what could be forgotten.
    ///
    /// ```
    /// let mut retention = tombolo::kv::Retention::default();
    /// retention.deletes_min = 100_000; // For peers that are often away for long.
    /// let store = tombolo::Store::options().retention(retention).in_memory();
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub const fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// When a transaction, or a merge, survives a crash: [`Durability::Immediate`] by default. A transaction may say otherwise.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::options().durability(tombolo::kv::Durability::Deferred).open(&path)?;
    /// store.counter("visits").add(1)?; // No fsync yet.
    /// let tx = store.begin()?;
    /// tx.durability(tombolo::kv::Durability::Immediate);
    /// tx.counter("paid").add(1)?;
    /// tx.commit()?; // It takes the earlier one along.
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// A wall clock other than this machine's.
    ///
    /// ```
    /// #[derive(Debug)]
    /// struct Stopped;
    ///
    /// impl tombolo::system::Clock for Stopped {
    ///     fn now_ms(&self) -> u64 {
    ///         1_700_000_000_000
    ///     }
    /// }
    ///
    /// let store = tombolo::Store::options().clock(Stopped).in_memory();
    /// store.register::<u64>("size").set(&1)?;
    /// assert_eq!(store.register::<u64>("size").siblings()?[0].time.ms(), 1_700_000_000_000);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// A random source other than this machine's.
    pub fn entropy(mut self, entropy: impl Entropy) -> Self {
        self.settings.entropy = Arc::new(entropy);
        self
    }

    /// Something else to tell which file is which.
    pub fn files(mut self, files: impl Files) -> Self {
        self.settings.files = Arc::new(files);
        self
    }

    /// Opens for reading only: nothing is written to the file, not even what opening writes otherwise, and the store has no id. Any
    /// number of processes may have a file open so, while none has it open for writing. What the writer never gave away cannot
    /// leave through it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// tombolo::Store::open(&path)?.counter("visits").add(1)?;
    /// let reader = tombolo::Store::options().read_only().open(&path)?;
    /// assert_eq!(reader.counter("visits").get()?, 1);
    /// assert!(matches!(reader.counter("visits").add(1), Err(tombolo::Error::ReadOnly)));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    pub const fn read_only(mut self) -> Self {
        self.settings.read_only = true;
        self
    }

    /// The id that a fresh space takes at its first write. Two replicas with one id lose writes: for tests, where a run must
    /// be the same each time.
    #[cfg(feature = "sim")]
    pub const fn replica(mut self, replica: crate::causal::ReplicaId) -> Self {
        self.settings.replica = Some(replica);
        self
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn fixed_replica(&self) -> Option<crate::causal::ReplicaId> {
        self.settings.replica
    }

    /// Opens the file at `path`, or makes it.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// let store = tombolo::Store::options().space("family").open(&path)?;
    /// assert!(matches!(tombolo::Store::open(&path), Err(tombolo::Error::Locked)));
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The file is open elsewhere ([`Error::Locked`](super::Error::Locked)), damaged, of a newer version, or not to be
    /// reached. It is as it was before.
    #[cfg(feature = "redb")]
    pub fn open(self, path: impl AsRef<std::path::Path>) -> Result<Store> {
        use crate::storage::Redb;
        let path = path.as_ref();
        let backend = if self.settings.read_only { Redb::open_read_only(path)? } else { Redb::open(path)? };
        let identity = Identity::of(&self.settings.files.identity(path)?);
        let file = File::open(Box::new(backend), self.settings, identity)?;
        Ok(Store::new(file.space(&self.space)?))
    }

    /// Makes a file at `to` from a backup, and opens it. Its spaces are replicas of their own, with ids of their own: whatever the
    /// original has written since, nothing is taken for something else. The backup is checked as a whole first, and stays as it is.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("phone.tombolo");
    /// # let backup = folder.path().join("backup");
    /// tombolo::Store::open(&path)?.backup(&backup)?;
    /// let restored = tombolo::Store::options().restore(&backup, folder.path().join("tablet.tombolo"))?;
    /// restored.check()?;
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// The backup is damaged or open for writing somewhere, there is a file at `to` already, or the disk fails. Nothing is at `to`
    /// then.
    #[cfg(feature = "redb")]
    pub fn restore(self, backup: impl AsRef<std::path::Path>, to: impl AsRef<std::path::Path>) -> Result<Store> {
        super::backup::restore(backup.as_ref(), to.as_ref(), &self.settings)?;
        self.open(to)
    }

    /// Opens a store on a backend, or makes one there.
    ///
    /// ```
    /// let memory = tombolo::storage::Memory::default();
    /// tombolo::Store::options().open_backend(memory.clone())?.counter("visits").add(1)?;
    /// assert_eq!(tombolo::Store::options().open_backend(memory)?.counter("visits").get()?, 1);
    /// # Ok::<(), tombolo::Error>(())
    /// ```
    ///
    /// # Errors
    /// What is on the backend is damaged or of a newer version, or the backend fails.
    pub fn open_backend(self, backend: impl Backend) -> Result<Store> {
        let file = File::open(Box::new(backend), self.settings, None)?;
        Ok(Store::new(file.space(&self.space)?))
    }

    /// A store in memory: it ends with its last handle.
    ///
    /// # Panics
    /// The name of the space is longer than 256 bytes.
    #[must_use]
    pub fn in_memory(self) -> Store {
        self.open_backend(Memory::default()).expect("an empty backend in memory opens")
    }
}

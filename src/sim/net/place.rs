//! A replica of a cluster, and what it is kept on.

use std::sync::Arc;

#[cfg(feature = "redb")]
use parking_lot::Mutex;

use crate::causal::{ReplicaId, VersionVector};
use crate::kv::{self, Store};
use crate::sim::cut::Cut;
use crate::sim::dice::Dice;
use crate::sim::op::Op;
use crate::sim::schema::Schema;
use crate::sim::store::{Medium, StoreSubject};
use crate::sim::subject::Fault;
use crate::storage::Memory;

use super::backups::{Image, Outrun};

/// Opens what a replica has.
type Opens = Box<dyn FnMut(kv::Options) -> Result<Store, Fault>>;

pub(super) struct Place {
    pub(super) subject: StoreSubject<Opens>,
    /// Its lane of the oracle, and what it has written in that.
    pub(super) lane: usize,
    pub(super) log: Vec<Vec<Op>>,
    /// So many of these it gave away under an earlier id.
    pub(super) given: u32,
    /// So many of these it has whatever its version says: a copy may have written them again, and found that nothing is left of them.
    pub(super) unnumbered: u32,
    /// The transactions that it has, as of the last check.
    pub(super) cut: Cut,
    pub(super) version: VersionVector,
    pub(super) skew_ms: i64,
    pub(super) is_running: bool,
    /// A transaction that failed: it may be in all the same.
    pub(super) unsure: Option<Vec<Op>>,
    /// What it is kept on, if that can be copied.
    pub(super) memory: Option<Memory>,
    /// Its newest backup.
    pub(super) image: Option<Arc<Image>>,
    pub(super) outrun: Option<Outrun>,
    #[cfg(feature = "redb")]
    disk: Option<Arc<Mutex<crate::sim::Disk>>>,
}

impl Place {
    /// In memory. The seed decides which new ids it takes.
    pub(super) fn in_memory(
        id: ReplicaId,
        schema: &Arc<Schema>,
        lane: usize,
        memory: Memory,
        seed: u64,
    ) -> Result<Self, Fault> {
        let (mut opened, mut seeds) = (memory.clone(), seed..);
        let opens = move |options: kv::Options| {
            let seed = seeds.next().unwrap_or_default();
            Medium::open(&mut opened, options.entropy(Dice::new(seed)))
        };
        Ok(Self { memory: Some(memory), ..Self::on(id, schema, lane, Box::new(opens))? })
    }

    fn on(id: ReplicaId, schema: &Arc<Schema>, lane: usize, opens: Opens) -> Result<Self, Fault> {
        Ok(Self {
            subject: StoreSubject::on(id, schema, opens)?,
            lane,
            log: Vec::new(),
            given: 0,
            unnumbered: 0,
            cut: Cut::default(),
            version: VersionVector::new(),
            skew_ms: 0,
            is_running: false,
            unsure: None,
            memory: None,
            image: None,
            outrun: None,
            #[cfg(feature = "redb")]
            disk: None,
        })
    }

    /// On a disk that can lose power.
    #[cfg(feature = "redb")]
    pub(super) fn on_disk(id: ReplicaId, schema: &Arc<Schema>, lane: usize) -> Result<Self, Fault> {
        let disk = Arc::new(Mutex::new(crate::sim::Disk::new()));
        let opened = Arc::clone(&disk);
        let opens = move |options: kv::Options| {
            let disk = opened.lock().clone();
            Ok(options.open_backend(crate::storage::Redb::with_backend(disk)?)?)
        };
        Ok(Self { disk: Some(disk), ..Self::on(id, schema, lane, Box::new(opens))? })
    }

    /// Its disk does nothing any more.
    #[cfg(feature = "redb")]
    pub(super) fn has_lost_power(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.lock().is_off())
    }

    /// Its disk does nothing any more.
    #[cfg(not(feature = "redb"))]
    pub(super) const fn has_lost_power(&self) -> bool {
        false
    }

    /// Cuts the power of its disk, now or in the middle of an operation that comes later. Returns whether it has a disk.
    #[cfg(feature = "redb")]
    pub(super) fn cut_power(&self, after: Option<u64>) -> bool {
        let Some(disk) = &self.disk else { return false };
        let disk = disk.lock();
        match after {
            None => disk.cut_power(),
            Some(operations) => disk.cut_power_at(disk.operations() + operations),
        }
        true
    }

    #[cfg(not(feature = "redb"))]
    pub(super) const fn cut_power(&self, _after: Option<u64>) -> bool {
        false
    }

    #[cfg(not(feature = "redb"))]
    pub(super) fn power_up(&mut self, _seed: u64) -> Result<(), Fault> {
        use crate::sim::subject::Subject as _;
        self.subject.restart()
    }

    /// The power is back: the disk has what the seed decides of what was not synced.
    #[cfg(feature = "redb")]
    pub(super) fn power_up(&mut self, seed: u64) -> Result<(), Fault> {
        if let Some(disk) = &self.disk {
            let survived = disk.lock().after_power_loss(seed);
            *disk.lock() = survived;
        }
        use crate::sim::subject::Subject as _;
        self.subject.restart()
    }
}

//! The store: keys, kinds, transactions, scans, deltas and merges over a [`Backend`](crate::storage::Backend).
//!
//! ```text
//!   Store, &Tx, Snapshot, Map        place.rs     where handles read and write
//!        │  handles
//!   Register Counter Flag Set …      kinds/       how a kind writes its rows and reads them
//!        │  rows
//!   Overlay                          overlay.rs   a transaction over the committed state
//!        │                                        ┌── merge/      a delta from a peer
//!        ▼                                        ├── push/       a transaction from a peer
//!   Commit  ◀─────────────────────────────────────┴── retention.rs
//!        │  writes                   commit.rs    what every commit keeps true
//!   Space ─▶ Backend                 space.rs     the writer lock, what readers see
//!        │
//!        └──▶ extract.rs ─▶ Delta    delta/       what a peer lacks
//! ```

#![allow(
    private_interfaces,
    private_bounds,
    reason = "the sealed traits name types of the inside; nobody outside can call or implement them"
)]

#[cfg(feature = "replication")]
mod attached;
#[cfg(feature = "redb")]
mod backup;
mod check;
mod commit;
mod cursor;
mod delete;
pub(crate) mod delta;
mod digest;
mod dots;
mod dynamic;
mod error;
mod extract;
#[cfg_attr(not(feature = "replication"), expect(dead_code, reason = "only what is attached to an engine is told"))]
mod feed;
mod file;
mod identity;
mod inspect;
mod kinds;
#[cfg_attr(not(feature = "replication"), expect(dead_code, reason = "only peers that are kept in step compare pages"))]
mod live;
mod local;
mod merge;
mod meta;
pub(crate) mod mutant;
mod options;
mod overlay;
pub(crate) mod path;
mod place;
mod push;
mod retention;
mod row;
mod row_path;
mod scan;
mod seal;
mod snapshot;
mod space;
mod stage;
mod status;
mod steps;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod tx;
mod watch;

#[cfg(feature = "replication")]
pub use attached::Attached;
pub use delta::Delta;
pub use digest::Digest;
pub use dynamic::Dynamic;
pub use error::{Error, Limit, Result};
pub use file::Durability;
pub use identity::StoreEvent;
pub use inspect::{Inspected, Inspection};
pub use kinds::counter::Counter;
pub use kinds::flag::Flag;
pub use kinds::lattice::LatticeCell;
pub use kinds::map::Map;
pub use kinds::register::{Register, Seen, Sibling};
pub use kinds::set::{Elements, Set};
pub use local::{Local, LocalEntry, LocalScan};
pub use merge::Merged;
pub use options::{Limits, Options, VALUE_MAX};
pub use path::{Kind, PATH_MAX};
pub use place::{Place, WritePlace};
pub use push::{Applied, Pushed};
pub use retention::Retention;
pub use row_path::RowPath;
pub use scan::{Entry, Scan};
pub use snapshot::Snapshot;
pub use space::SpaceId;
pub use status::Status;
pub use store::Store;
pub use tx::Tx;
pub use watch::{Change, Changes, Watch};

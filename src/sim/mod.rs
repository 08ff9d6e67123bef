//! Checks whole histories of replicas against an oracle that knows nothing but which transactions were seen.
//!
//! ```text
//!   Schema ──▶ Plan (a seed, or written by hand)
//!                │ steps: transact, sync, a batch late or twice, a push out of order, truncate, restart
//!                ▼
//!              Runner ── calls ──▶ Subject, Subject, Subject      stores, or the naive replica
//!                │                     │ version, every cell, digest: after every step
//!                └── records ──▶ Oracle ◀── must be equal
//! ```
//!
//! # Checking one's own schema
//!
//! Declare the cells that the application uses, and run as many histories as there is time for. Here the subject is the naive
//! replica; for a store, `run` gets `|replica| StoreSubject::in_memory(replica, &schema)`.
//!
//! ```
//! use std::sync::Arc;
//! use tombolo::sim::{Kind, Naive, Runner, Schema, Situation};
//!
//! let schema = Schema::new()
//!     .cell(&["cart"], &[], Kind::Set)
//!     .cell(&["cart"], &["apple", "amount"], Kind::Counter)
//!     .cell(&["cart"], &["note"], Kind::Register);
//! let schema = Arc::new(schema);
//! let counts = Runner::new(&schema).histories(100).run(|replica| Naive::new(replica, &schema)).unwrap();
//! // A check that never meets a situation says nothing about it.
//! counts.require_of(&[Situation::SiblingRead, Situation::StaleBase, Situation::NestedDelete], 20).unwrap();
//! ```
//!
//! A failure displays the seed, what was expected and observed, and the steps that it takes, others left out:
//!
//! ```text
//! history of seed 29, step 68, replica C: counter visits
//!   expected: Counter(0)
//!   observed: Counter(2)
//!    23  C: add +2 to counter visits
//!    24  C -> B: sync
//!    27  B: clear counter visits
//!    36  C: add -2 to counter visits
//!    47  B -> C: prepare a batch
//!    60  -> C: deliver the batch of step 47
//!    68  C: add +2 to counter visits
//! ```
//!
//! # What is checked
//!
//! - After every step, of the replica that it changed: the version is that of the transactions it has been brought, no more, no
//!   less, none split; every cell reads what the [`Oracle`] says; the digest is that of any replica that was at this version.
//! - Of every call: what it returns. Whether a batch applies and changes something, whether a push applies, was there or waits,
//!   follows from what was seen.
//! - Of every transaction with a register: its stamp is above that of all it saw.
//! - At the end, after an exchange of all with all: equal canonical bytes, and the subject's own check.
//!
//! | to find | use |
//! |---|---|
//! | what is likely, in long histories | [`Runner`] |
//! | everything, up to a bound | [`Exhaustive`] |
//! | one story, told by hand | [`Plan`] and [`Runner::replay`] |
//! | a difference between two implementations | [`Both`] |
//! | whether the check itself would notice | [`Naive`] with a [`Defect`], and [`Counts`] |
//! | what a copy of a store does that was rolled back, restored or cloned | [`Copies`] |
//! | what a power loss, a failing or lying sync, or a full disk does | `Disk` (with the feature `redb`) |
//!
//! Not checked by the runner: crashes, damaged files, hostile bytes, the network. Copied files: by [`Copies`]. A network, and copies in one:
//! by [`Cluster`].

mod both;
mod copies;
mod counts;
mod cut;
mod dice;
#[cfg(feature = "redb")]
mod disk;
mod exhaustive;
mod history;
#[cfg(test)]
mod mutants;
mod naive;
mod net;
mod op;
mod oracle;
mod plan;
mod schema;
mod seeds;
mod store;
mod subject;
mod world;

pub use crate::laws::Rng;
pub use both::Both;
pub use copies::{Copies, CopyCounts, CopyFailure, CopySituation, ForkCounts};
pub use counts::{Counts, Situation, TooRare};
pub use cut::{At, Cut, REPLICAS_MAX};
#[cfg(feature = "redb")]
pub use disk::{Disk, Room, SECTOR, Syncs};
pub use exhaustive::{Exhaustive, Explored};
pub use history::{Failure, Runner};
pub use naive::{Defect, Naive, NaiveBatch, NaivePushed, NaiveSeen};
pub use net::{
    Cluster, ClusterFailure, Deed, Faults, Happened, NetCounts, Network, Scenario, ScenarioLink, ScenarioSettings,
    ScenarioStep, SentCounts,
};
pub use op::Op;
pub use oracle::{Oracle, Reading};
pub use plan::{Plan, Step};
pub use schema::{Cell, CellId, Kind, Schema, Scope, ScopeId};
pub use store::{Medium, StoreSubject};
pub use subject::{Applied, Fault, Merged, Observed, Sibling, Subject};

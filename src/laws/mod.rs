//! The laws of CRDTs, for types of your own: is it a lattice, do its deltas say what its operations do, does it read what it
//! should?
//!
//! ```text
//!   ops, spec ──▶ Suite ── draws ──▶ steps: operations, states, deltas late, lost, twice, joined; restarts, clones
//!                   │                   │ after every step: join, delta, bytes, and what is read
//!                   │                   ▼ at the end: all exchange with all; deltas in every order
//!                   └──▶ Report, or the shortest Failure
//! ```
//!
//! # A type of one's own
//!
//! A set that only grows. Its specification knows nothing but which additions are visible:
//!
//! ```
//! use std::collections::BTreeSet;
//! use tombolo::ReplicaId;
//! use tombolo::crdt::{Crdt, Lattice, Refused};
//! use tombolo::laws::{Situation, Suite};
//!
//! #[derive(Debug, Clone, PartialEq)]
//! struct Grown(BTreeSet<u64>);
//!
//! impl Lattice for Grown {
//!     fn bottom() -> Self {
//!         Self(BTreeSet::new())
//!     }
//!     fn join(&mut self, other: &Self) -> bool {
//!         self.0.join(&other.0)
//!     }
//! }
//!
//! impl Crdt for Grown {
//!     type Op = u64;
//!     type Read = BTreeSet<u64>;
//!
//!     fn apply(&mut self, op: &u64, _me: ReplicaId) -> Result<Self, Refused> {
//!         self.0.insert(*op);
//!         Ok(Self(BTreeSet::from([*op])))
//!     }
//!     fn read(&self) -> BTreeSet<u64> {
//!         self.0.clone()
//!     }
//! }
//!
//! let suite = Suite::<Grown>::new(|rng| rng.below(5)).spec(|visible| visible.iter().map(|event| event.op).collect());
//! let report = suite.cases(100).check().unwrap();
//! // A check that never meets a situation says nothing about it. Nothing can be refused here.
//! assert_eq!(report.unmet(), [Situation::Refused]);
//! ```
//!
//! In a test, end with [`run`](Suite::run): it panics with the law, the seed and the steps it takes.
//!
//! # What a delta brings
//!
//! A specification is a function of the operations that have reached a replica ([`Visible`]): by a state, all that its sender
//! knew; by a delta, its own alone, whether those before it have arrived or not. Where an entry is a total, as in a counter, the
//! delta brings what its replica did before as well: say so with [`Suite::reach`], or [`Suite::brings`].
//!
//! | to check | use |
//! |---|---|
//! | a type with operations | [`Suite`] |
//! | a value without | [`join_laws`], [`order_laws`], [`decompose_laws`] |

#[cfg(test)]
mod broken;
mod codec;
mod failure;
mod report;
mod rng;
mod run;
mod shrink;
mod slices;
mod step;
mod suite;
#[cfg(test)]
mod tests;
mod visible;

pub use failure::Failure;
pub use report::{Report, Situation};
pub use rng::Rng;
pub use run::replica_id;
pub use slices::{decompose_laws, join_laws, order_laws};
#[cfg(feature = "proptest")]
pub(crate) use step::draw;
pub use step::{Step, Trace};
pub use suite::{Reach, Suite};
pub use visible::{Event, Visible};

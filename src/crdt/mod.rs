//! Data that converges: lattices, and the types that remember what they removed without tombstones.
//!
//! ```text
//! Lattice            a value with a join; replicas that joined the same values are equal
//!   ▲
//! Causal<S>          a store of dots, and a context of what has been seen: a dot seen but not stored was removed
//!   ▲
//! DotSet DotFun DotMap    the stores; they nest, and share the one context
//!   ▲
//! join_dots          the one rule for which dots live on; the key-value store's rows are joined by it too
//! ```
//!
//! | types | |
//! |---|---|
//! | that only grow | [`GCounter`], [`PnCounter`], [`ResetCounter`], [`BoundedCounter`], [`LwwRegister`], [`FirstWriteRegister`], [`Expiring`], [`Max`], [`Min`], [`OneWayFlag`], [`GSet`], [`TwoPhaseSet`], [`HyperLogLog`] |
//! | that remove | [`MvRegister`], [`EwFlag`], [`DwFlag`], [`OrSet`], [`RwSet`], [`LwwMap`], [`CausalCounter`], [`OrMap`], [`OrMultiMap`] |
//!
//! Nothing here knows keys, peers, disks or clocks.

mod causal_types;
mod dot_store;
mod growing;
mod join;
mod lattice;
mod refused;
#[cfg(test)]
mod tests;

pub use causal_types::{
    CausalCounter, CausalCounterOp, CausalType, DwFlag, EwFlag, LwwMap, LwwMapOp, MvRegister, OrMap, OrMapOp, OrMultiMap,
    OrMultiMapOp, OrSet, RwSet, Seen, SetOp,
};
pub use dot_store::{Causal, DotFun, DotMap, DotSet, DotStore, DotTable};
pub use growing::{
    BoundedCounter, BoundedCounterOp, Expiring, FirstWriteRegister, GCounter, GSet, HyperLogLog, LwwRegister, Max, Min,
    OneWayFlag, PnCounter, ResetCounter, ResetCounterOp, TwoPhaseSet, TwoPhaseSetOp,
};
pub use join::{Verdict, join_dots};
pub use lattice::{Crdt, Decompose, Lattice, NonCausal};
pub use refused::Refused;

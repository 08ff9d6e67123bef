//! Types that remove: a dot store behind a context of its own. What was seen is removed; what is concurrent is not.

mod causal_counter;
mod causal_type;
mod flag;
mod lww_map;
mod mv_register;
mod or_map;
mod or_multi_map;
mod or_set;
mod rw_set;
mod seen;

pub use causal_counter::{CausalCounter, CausalCounterOp};
pub use causal_type::CausalType;
pub use flag::{DwFlag, EwFlag};
pub use lww_map::{LwwMap, LwwMapOp};
pub use mv_register::MvRegister;
pub use or_map::{OrMap, OrMapOp};
pub use or_multi_map::{OrMultiMap, OrMultiMapOp};
pub use or_set::{OrSet, SetOp};
pub use rw_set::RwSet;
pub use seen::Seen;

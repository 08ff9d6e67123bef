//! Types that remove: a dot store behind a context of its own. What was seen is removed; what is concurrent is not.

mod causal_type;
mod flag;
mod lww_map;
mod mv_register;
mod or_set;
mod rw_set;

pub use causal_type::CausalType;
pub use flag::{DwFlag, EwFlag};
pub use lww_map::{LwwMap, LwwMapOp};
pub use mv_register::MvRegister;
pub use or_set::{OrSet, SetOp};
pub use rw_set::RwSet;

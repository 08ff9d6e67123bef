//! Types that remove: a dot store behind a context of its own. What was seen is removed; what is concurrent is not.

mod causal_counter;
mod causal_type;
mod flag;
mod mv_register;
mod seen;

pub use causal_counter::{CausalCounter, CausalCounterOp};
pub use causal_type::CausalType;
pub use flag::{DwFlag, EwFlag};
pub use mv_register::MvRegister;
pub use seen::Seen;

//! Strategies for [`::proptest`]: states of every type here, and histories of any CRDT, your own too.
//!
//! A [`Suite`] draws and shrinks histories by itself. With proptest, its generators, its shrinking, its regression files and its
//! settings (`PROPTEST_CASES`) take that place; the checks are those of the suite.
//!
//! ```
//! use proptest::prelude::*;
//! use tombolo::crdt::GSet;
//! use tombolo::laws::Suite;
//! use tombolo::proptest::{check, g_sets, suite, traces};
//!
//! // What a set of a few numbers must read: what was inserted, anywhere.
//! fn numbers() -> Suite<GSet<u8>> {
//!     suite(0_u8..5).spec(|visible| visible.iter().map(|event| event.op).collect()).order().decompose().codec()
//! }
//!
//! proptest! {
//!     #![proptest_config(ProptestConfig::with_cases(50))]
//!     # /*
//!     #[test]
//!     # */
//!     fn a_set_of_numbers_obeys_every_law(trace in traces(0_u8..5)) {
//!         check(&numbers(), &trace)?;
//!     }
//!
//!     # /*
//!     #[test]
//!     # */
//!     fn an_element_that_is_in_is_counted(set in g_sets(0_u8..5)) {
//!         prop_assert_eq!(set.iter().count(), set.len());
//!     }
//! }
//! # a_set_of_numbers_obeys_every_law();
//! # an_element_that_is_in_is_counted();
//! ```
//!
//! The same without the macro is [`run`]. For states of a type of your own there is [`states_of`], which takes nothing but a
//! strategy of its operations.

mod causal;
mod states;
#[cfg(test)]
mod tests;
mod trace;

use core::fmt::Debug;

use ::proptest::strategy::{Strategy, ValueTree};
use ::proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

pub use self::causal::{causal_contexts, dots, replica_ids, version_vectors};
pub use self::states::*;
pub use self::trace::{TraceTree, Traces, traces};
use crate::crdt::Crdt;
use crate::laws::{Rng, Suite, Trace};

/// A [`Suite`] whose operations come from a strategy.
#[must_use]
pub fn suite<T: Crdt + Debug>(ops: impl Strategy<Value = T::Op> + 'static) -> Suite<T> {
    Suite::new(move |rng| draw(&ops, rng))
}

/// Runs a history through all checks of a suite: for the body of a `proptest!`.
///
/// # Errors
/// The law that broke, as text.
pub fn check<T: Crdt + Debug>(suite: &Suite<T>, trace: &Trace<T::Op>) -> Result<(), TestCaseError> {
    suite.check_trace(trace).map(drop).map_err(|failure| TestCaseError::fail(failure.to_string()))
}

/// Runs histories with operations from a strategy through all checks of a suite, and shrinks one that fails.
///
/// ```
/// use tombolo::crdt::Max;
/// use tombolo::proptest::{run, suite};
///
/// let suite = suite::<Max<u8>>(0_u8..4).spec(|visible| visible.iter().map(|event| event.op).max());
/// run(proptest::test_runner::Config::with_cases(50), 0_u8..4, &suite);
/// ```
///
/// # Panics
/// With the law that broke, and the shortest history that proptest found.
#[expect(clippy::panic, reason = "it is what the caller asks for: a test that fails")]
pub fn run<T: Crdt + Debug>(config: Config, ops: impl Strategy<Value = T::Op>, suite: &Suite<T>) {
    if let Err(error) = TestRunner::new(config).run(&traces(ops), |trace| check(suite, &trace)) {
        panic!("{error}");
    }
}

/// One value of a strategy, by our generator.
///
/// # Panics
/// If the strategy rejects all it makes.
fn draw<S: Strategy>(strategy: &S, rng: &mut Rng) -> S::Value {
    let seed: Vec<u8> = (0..4).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let tree = strategy.new_tree(&mut TestRunner::new_with_rng(Config::default(), rng));
    tree.expect("a strategy of operations that makes some").current()
}

//! Random histories of replicas, checked at every step.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Debug};

#[cfg(feature = "std")]
use serde::{Serialize, de::DeserializeOwned};

use super::codec::Codec;
use super::run::caught;
use super::shrink::Shrink;
use super::slices::{Broken, check_decompose, check_order};
use super::step::{REPLICAS_MAX, draw};
use super::{Event, Failure, Report, Rng, Trace, Visible};
#[cfg(feature = "std")]
use crate::codec::msgpack;
use crate::crdt::{Crdt, Decompose};

type Check<T> = fn(&[T]) -> Result<u64, Broken>;
type Ops<T> = Box<dyn Fn(&mut Rng) -> <T as Crdt>::Op>;
type Spec<T> = Box<dyn Fn(&Visible<<T as Crdt>::Op>) -> <T as Crdt>::Read>;
type Brings<Op> = Box<dyn Fn(&Visible<Op>, &Event<Op>, &Event<Op>) -> bool>;

/// What a delta makes visible at who receives it, besides its own operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reach {
    /// Nothing more: it can arrive without those before it. As with sets, and registers.
    #[default]
    Operation,
    /// All earlier operations of its replica: an entry that is a total, as in a counter.
    Replica,
    /// All that its replica knew: the delta is the whole state.
    Everything,
}

/// Checks a type with random histories of replicas: see the [module](super).
pub struct Suite<T: Crdt> {
    pub(super) ops: Ops<T>,
    pub(super) spec: Option<Spec<T>>,
    pub(super) codec: Option<Codec<T>>,
    /// More laws, of sampled states.
    pub(super) checks: Vec<Check<T>>,
    /// Whether the delta of an operation brings an earlier one.
    pub(super) brings: Brings<T::Op>,
    replicas: Option<usize>,
    cases: u64,
    seed: u64,
}

impl<T: Crdt> Debug for Suite<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("cases", &self.cases).field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl<T: Crdt + Debug> Suite<T> {
    /// A suite of 500 histories. `ops` draws an operation: of few values, so that they meet.
    #[must_use]
    pub fn new(ops: impl Fn(&mut Rng) -> T::Op + 'static) -> Self {
        Self {
            ops: Box::new(ops),
            spec: None,
            codec: None,
            checks: Vec::new(),
            brings: Box::new(|_, _, _| false),
            replicas: None,
            cases: 500,
            seed: 0,
        }
    }

    /// How many replicas each history starts with: 2 to 4. Without it each history draws it.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas.clamp(2, REPLICAS_MAX));
        self
    }

    /// How many histories.
    #[must_use]
    pub const fn cases(mut self, cases: u64) -> Self {
        self.cases = cases;
        self
    }

    /// The seed of the first history; the next one's is one more.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What is read, from the operations that a replica knows and which of them knew which. It is compared at each step with
    /// what the replica reads. Without it a type that converges to nonsense passes.
    #[must_use]
    pub fn spec(mut self, spec: impl Fn(&Visible<T::Op>) -> T::Read + 'static) -> Self {
        self.spec = Some(Box::new(spec));
        self
    }

    /// What a delta brings. Without it: its own operation.
    #[must_use]
    pub fn reach(self, reach: Reach) -> Self {
        match reach {
            Reach::Operation => self.brings(|_, _, _| false),
            Reach::Replica => self.brings(|_, earlier, event| earlier.replica == event.replica),
            Reach::Everything => self.brings(|_, _, _| true),
        }
    }

    /// The same for what no [`Reach`] says: `brings(known, earlier, event)` is whether the delta of `event` brings `earlier`, which is
    /// one of those that its replica knew when it was done. Of a counter with two totals for each replica, one up and one down:
    ///
    /// ```
    /// use tombolo::crdt::PnCounter;
    /// use tombolo::laws::Suite;
    ///
    /// Suite::<PnCounter>::new(|rng| if rng.chance(50) { 1 } else { -1 })
    ///     .spec(|visible| visible.iter().map(|event| i128::from(event.op)).sum())
    ///     .brings(|_, earlier, event| earlier.replica == event.replica && (earlier.op < 0) == (event.op < 0))
    ///     .cases(20)
    ///     .run();
    /// ```
    #[must_use]
    pub fn brings(mut self, brings: impl Fn(&Visible<T::Op>, &Event<T::Op>, &Event<T::Op>) -> bool + 'static) -> Self {
        self.brings = Box::new(brings);
        self
    }

    /// Checks [`order_laws`](super::order_laws) too.
    #[must_use]
    pub fn order(mut self) -> Self
    where
        T: PartialOrd,
    {
        self.checks.push(check_order);
        self
    }

    /// Checks [`decompose_laws`](super::decompose_laws) too.
    #[must_use]
    pub fn decompose(mut self) -> Self
    where
        T: Decompose,
    {
        self.checks.push(check_decompose);
        self
    }

    /// Checks its bytes, as a store would keep it. Each restart goes through them; equal states have equal bytes, whatever the
    /// order of arrival; bytes cut short, changed or spelled at greater length never panic, and what is accepted of them is what
    /// the state that they are read as is written as again (so no two byte strings are one state), and can be joined.
    ///
    /// They are read by [`from_canonical_bytes`](msgpack::from_canonical_bytes), since MessagePack alone takes many forms of a
    /// value: do the same before you hash what you received.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn codec(self) -> Self
    where
        T: Serialize + DeserializeOwned,
    {
        self.codec_of(
            |state| msgpack::to_bytes(state).map_err(|error| error.to_string()),
            |bytes| msgpack::from_canonical_bytes(bytes).map_err(|error| error.to_string()),
        )
    }

    /// The same for bytes of another format. An error is the text of it. `read` must refuse what `write` would not have written.
    #[must_use]
    pub fn codec_of(
        mut self,
        write: impl Fn(&T) -> Result<Vec<u8>, String> + 'static,
        read: impl Fn(&[u8]) -> Result<T, String> + 'static,
    ) -> Self {
        self.codec = Some(Codec { write: Box::new(write), read: Box::new(read) });
        self
    }

    /// Runs all histories.
    ///
    /// # Panics
    /// With the text of the [`Failure`].
    #[expect(clippy::panic, reason = "it is what the caller asks for: a test that fails")]
    pub fn run(self) {
        if let Err(failure) = self.check() {
            panic!("{}", failure.to_string());
        }
    }

    /// Runs one history, and does not shrink it: of a test that failed once, or of another generator.
    ///
    /// # Errors
    /// The law that broke.
    pub fn check_trace(&self, trace: &Trace<T::Op>) -> Result<Report, Failure<T::Op>> {
        let replicas = trace.replicas.clamp(1, REPLICAS_MAX);
        caught(self, replicas, &trace.steps).map_err(|broken| broken.of(self.seed, 0, trace.steps.clone()))
    }

    /// Runs histories until one breaks a law, and shrinks it.
    ///
    /// # Errors
    /// The law that broke.
    pub fn check(self) -> Result<Report, Failure<T::Op>> {
        let mut report = Report::default();
        for case in 0..self.cases {
            let seed = self.seed.wrapping_add(case);
            let Trace { replicas, steps } = draw(&mut Rng::new(seed), &self.ops, self.replicas);
            match caught(&self, replicas, &steps) {
                Ok(met) => report.add(&met),
                Err(broken) => {
                    let (trace, broken) = Shrink { suite: &self, replicas, trace: steps, broken, tries: 0 }.shortest();
                    return Err(broken.of(seed, case, trace));
                }
            }
        }
        Ok(report)
    }
}

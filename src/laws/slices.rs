//! The laws of a lattice, over all pairs and triples of a slice of states.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt::{self, Debug};

use super::{Failure, Step};
use crate::crdt::{Decompose, Lattice};

/// A law that does not hold, and the values that show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) law: &'static str,
    pub(super) expected: String,
    pub(super) observed: String,
}

impl Broken {
    pub(super) const fn new(law: &'static str, expected: String, observed: String) -> Self {
        Self { law, expected, observed }
    }

    /// With the history that shows it.
    pub(super) fn of<Op>(self, seed: u64, case: u64, trace: Vec<(usize, Step<Op>)>) -> Failure<Op> {
        let Self { law, expected, observed } = self;
        Failure { law, seed, case, trace, expected, observed }
    }
}

/// `Ok` if the values are equal. What they are of is written only if they are not: most are.
pub(super) fn equal<T: PartialEq + Debug>(
    law: &'static str,
    observed: &T,
    expected: &T,
    of: impl fmt::Display,
) -> Result<(), Broken> {
    if observed == expected { Ok(()) } else { Err(Broken::new(law, format!("{expected:?}"), format!("{observed:?}, {of}"))) }
}

/// `a ⊔ b`, if it told exactly whether `a` changed, and is above both.
pub(super) fn joined<T: Lattice + Debug>(a: &T, b: &T) -> Result<T, Broken> {
    let mut joined = a.clone();
    let changed = joined.join(b);
    if changed != (joined != *a) {
        let expected = format!("{}", !changed);
        return Err(Broken::new("exact flag", expected, format!("{changed}, from the join of {b:?} into {a:?}")));
    }
    Ok(joined)
}

/// Panics unless the laws of [`Lattice`] hold for all states, pairs and triples of the slice.
///
/// A join is associative, commutative and idempotent; it never goes down; bottom changes nothing and is told by
/// [`is_bottom`](Lattice::is_bottom); `true` is returned if and only if something changed.
///
/// ```
/// use std::collections::BTreeSet;
/// tombolo::laws::join_laws(&[BTreeSet::new(), BTreeSet::from([1]), BTreeSet::from([1, 2]), BTreeSet::from([3])]);
/// ```
///
/// # Panics
/// With the law that is broken, and the states that show it.
///
/// Cost: two joins for each triple.
pub fn join_laws<T: Lattice + Debug>(states: &[T]) {
    hold(check_join(states));
}

/// Panics unless `<=` is the order of the join, for all pairs of the slice: `a <= b` if and only if `a ⊔ b == b`.
///
/// # Panics
/// With the law that is broken, and the states that show it.
pub fn order_laws<T: Lattice + PartialOrd + Debug>(states: &[T]) {
    hold(check_order(states));
}

/// Panics unless the laws of [`Decompose`] hold for all states and pairs of the slice.
///
/// The join of the parts is the state; no part is bottom, has parts of its own, or could be left out; `minus` brings what the
/// other lacks, and no part that it has.
///
/// # Panics
/// With the law that is broken, and the states that show it.
pub fn decompose_laws<T: Decompose + Debug>(states: &[T]) {
    hold(check_decompose(states));
}

#[expect(clippy::panic, reason = "it is what the caller asks for: a test that fails")]
fn hold(result: Result<u64, Broken>) {
    if let Err(Broken { law, expected, observed }) = result {
        panic!("{law}\n  expected: {expected}\n  observed: {observed}");
    }
}

/// How many checks were made.
pub(super) fn check_join<T: Lattice + Debug>(states: &[T]) -> Result<u64, Broken> {
    let mut checks = 0;
    let bottom = T::bottom();
    equal("bottom", &bottom, &T::bottom(), "two bottoms")?;
    equal("is_bottom", &bottom.is_bottom(), &true, "of bottom")?;
    for a in states {
        equal("clone", &a.clone(), a, "its clone")?;
        equal("is_bottom", &a.is_bottom(), &(*a == bottom), format_args!("of {a:?}"))?;
        equal("idempotent", &joined(a, a)?, a, "joined with itself")?;
        equal("bottom", &joined(a, &bottom)?, a, "with bottom joined into it")?;
        equal("bottom", &joined(&bottom, a)?, a, "joined into bottom")?;
        checks += 6;
    }
    let pairs: Vec<Vec<T>> =
        states.iter().map(|a| states.iter().map(|b| joined(a, b)).collect()).collect::<Result<_, Broken>>()?;
    for ((a, row), i) in states.iter().zip(&pairs).zip(0..) {
        for ((b, ab), j) in states.iter().zip(row).zip(0_usize..) {
            if let Some(ba) = pairs.get(j).and_then(|row| row.get(i)) {
                equal("commutative", ab, ba, format_args!("of {a:?} and {b:?}"))?;
            }
            equal("monotone", &joined(ab, a)?, ab, format_args!("with {a:?} joined once more, of it and {b:?}"))?;
            equal("idempotent", &joined(ab, b)?, ab, format_args!("with {b:?} joined once more, after {a:?}"))?;
            for (c, bc) in states.iter().zip(pairs.get(j).into_iter().flatten()) {
                let of = || format!("(a ⊔ b) ⊔ c against a ⊔ (b ⊔ c), of {a:?}, {b:?}, {c:?}");
                let (left, right) = (joined(ab, c)?, joined(a, bc)?);
                if left != right {
                    equal("associative", &left, &right, of())?;
                }
                checks += 1;
            }
            checks += 3;
        }
    }
    Ok(checks)
}

/// How many checks were made.
pub(super) fn check_order<T: Lattice + PartialOrd + Debug>(states: &[T]) -> Result<u64, Broken> {
    let mut checks = 0;
    for a in states {
        for b in states {
            let ab = joined(a, b)?;
            let expected = match (ab == *b, ab == *a) {
                (true, true) => Some(Ordering::Equal),
                (true, false) => Some(Ordering::Less),
                (false, true) => Some(Ordering::Greater),
                (false, false) => None,
            };
            equal("order", &a.partial_cmp(b), &expected, format_args!("{a:?} against {b:?}"))?;
            equal("order", &(a <= b), &(ab == *b), format_args!("{a:?} <= {b:?}"))?;
            checks += 2;
        }
    }
    Ok(checks)
}

/// How many checks were made.
pub(super) fn check_decompose<T: Decompose + Debug>(states: &[T]) -> Result<u64, Broken> {
    let mut checks = 0;
    for a in states {
        let parts: Vec<T> = a.parts().collect();
        let join_but = |left_out: Option<usize>| {
            let mut join = T::bottom();
            for (part, _) in parts.iter().zip(0..).filter(|(_, at)| Some(*at) != left_out) {
                join.join(part);
            }
            join
        };
        equal("parts", &join_but(None), a, "the join of the parts")?;
        for (part, at) in parts.iter().zip(0..) {
            equal("no part is bottom", &part.is_bottom(), &false, format_args!("of a part of {a:?}"))?;
            if join_but(Some(at)) == *a {
                let expected = format!("less than {a:?}");
                return Err(Broken::new("parts are irredundant", expected, format!("the same without {part:?}")));
            }
            equal("parts are whole", &part.parts().count(), &1, format_args!("parts of the part {part:?}"))?;
            checks += 3;
        }
        for b in states {
            let minus = a.minus(b);
            let of = format_args!("{b:?} joined with {minus:?}, which is {a:?} minus it");
            equal("minus", &joined(b, &minus)?, &joined(b, a)?, of)?;
            if let Some(part) = minus.parts().find(|part| part <= b) {
                let expected = format!("no part that {b:?} has");
                return Err(Broken::new("minus is least", expected, format!("{part:?}, in {minus:?}")));
            }
            checks += 2;
        }
        checks += 1;
    }
    Ok(checks)
}

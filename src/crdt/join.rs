//! The one join: which dots live on when two sides meet.

use core::cmp::Ordering;
use core::mem;

/// What the join decides for one dot, and where that dot is: an index into one of the two inputs, or what came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<T = usize> {
    /// Ours, at this place: both have it, or they have not seen it.
    Keep(T),
    /// Ours, at this place: they have seen it and no longer hold it.
    Drop(T),
    /// Theirs, at this place: it is new to us.
    Take(T),
    /// Theirs, at this place: we have seen it and no longer hold it.
    Skip(T),
}

/// Joins the dots that two sides hold in one place, given what each has seen.
///
/// ```text
///            they hold it    they have seen it, hold it no more    they have not seen it
/// we hold it     Keep                    Drop                              Keep
/// we do not      Skip if we have seen it, else Take
/// ```
///
/// Both inputs are sorted, strictly ascending, by the same order; it need not be the order of [`Dot`](crate::causal::Dot).
/// Verdicts come in that order: each index of either input once and ascending, but for a dot that both hold, of which the
/// one verdict is `Keep` with our index.
///
/// The laws of a join (associative, commutative, idempotent) hold if each side has seen every dot that it holds.
///
/// Cost: linear, one question to `ours_seen` or `theirs_seen` for each dot that one side alone holds; no allocation.
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018), section 7, the join of `DotSet`:
/// `(s ∩ s') ∪ (s ∖ c') ∪ (s' ∖ c)`.
pub fn join_dots<D: Ord>(
    ours: impl IntoIterator<Item = D>,
    theirs: impl IntoIterator<Item = D>,
    ours_seen: impl Fn(&D) -> bool,
    theirs_seen: impl Fn(&D) -> bool,
    each: impl FnMut(Verdict),
) {
    join_placed_dots(ours.into_iter().zip(0..), theirs.into_iter().zip(0..), ours_seen, theirs_seen, each);
}

/// The same for dots that each come with a place of their own, which the verdict gives back.
pub(super) fn join_placed_dots<D: Ord, T>(
    ours: impl Iterator<Item = (D, T)>,
    theirs: impl Iterator<Item = (D, T)>,
    ours_seen: impl Fn(&D) -> bool,
    theirs_seen: impl Fn(&D) -> bool,
    mut each: impl FnMut(Verdict<T>),
) {
    let ours_alone = |(our, at)| if theirs_seen(&our) { Verdict::Drop(at) } else { Verdict::Keep(at) };
    let theirs_alone = |(their, at)| if ours_seen(&their) { Verdict::Skip(at) } else { Verdict::Take(at) };
    let mut ours = Ascending::new(ours);
    let mut theirs = Ascending::new(theirs);
    loop {
        let first = match (&ours.head, &theirs.head) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((our, _)), Some((their, _))) => our.cmp(their),
        };
        let our = if first.is_le() { ours.advance() } else { None };
        let their = if first.is_ge() { theirs.advance() } else { None };
        match (our, their) {
            (Some((_, at)), Some(_)) => each(Verdict::Keep(at)),
            (Some(our), None) => each(ours_alone(our)),
            (None, Some(their)) => each(theirs_alone(their)),
            (None, None) => return,
        }
    }
}

/// The head of a sorted sequence.
struct Ascending<D, T, I: Iterator<Item = (D, T)>> {
    rest: I,
    head: Option<(D, T)>,
}

impl<D: Ord, T, I: Iterator<Item = (D, T)>> Ascending<D, T, I> {
    fn new(mut rest: I) -> Self {
        let head = rest.next();
        Self { rest, head }
    }

    fn advance(&mut self) -> Option<(D, T)> {
        let head = mem::replace(&mut self.head, self.rest.next());
        if let (Some((head, _)), Some((next, _))) = (&head, &self.head) {
            debug_assert!(head < next, "dots are not strictly ascending");
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// As a store holds its dots: a small number in place of the replica's id.
    type Local = (u32, u64);

    fn dots() -> impl Strategy<Value = BTreeSet<Local>> {
        proptest::collection::btree_set((0_u32..3, 1_u64..6), 0..12)
    }

    fn verdicts(ours: &BTreeSet<Local>, theirs: &BTreeSet<Local>, c: &BTreeSet<Local>, c2: &BTreeSet<Local>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        join_dots(ours, theirs, |dot| c.contains(*dot), |dot| c2.contains(*dot), |verdict| verdicts.push(verdict));
        verdicts
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 4_000,
            rng_seed: RngSeed::Fixed(11),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Also for sides that hold what they have not seen: the verdicts are total.
        #[test]
        fn the_join_is_the_formula_of_the_paper(ours in dots(), theirs in dots(), ours_seen in dots(), theirs_seen in dots()) {
            let (in_order, of_theirs): (Vec<_>, Vec<_>) = (ours.iter().collect(), theirs.iter().collect());
            let mut live = Vec::new();
            let mut visited = Vec::new();
            for verdict in verdicts(&ours, &theirs, &ours_seen, &theirs_seen) {
                let dot = *match verdict {
                    Verdict::Keep(at) | Verdict::Drop(at) => in_order[at],
                    Verdict::Take(at) | Verdict::Skip(at) => of_theirs[at],
                };
                visited.push(dot);
                if matches!(verdict, Verdict::Keep(_) | Verdict::Take(_)) {
                    live.push(dot);
                }
            }
            let both = ours.intersection(&theirs);
            let ours_alone = ours.iter().filter(|dot| !theirs.contains(dot) && !theirs_seen.contains(dot));
            let theirs_alone = theirs.iter().filter(|dot| !ours.contains(dot) && !ours_seen.contains(dot));
            let expected: BTreeSet<Local> = both.chain(ours_alone).chain(theirs_alone).copied().collect();
            prop_assert_eq!(live, expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(visited, ours.union(&theirs).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn each_case_has_its_verdict() {
        let (ours, theirs) = ([1, 2, 3], [2, 4, 5]);
        let mut verdicts = Vec::new();
        join_dots(ours, theirs, |dot| *dot <= 4, |dot| *dot >= 2, |verdict| verdicts.push(verdict));
        let expected = [Verdict::Keep(0), Verdict::Keep(1), Verdict::Drop(2), Verdict::Skip(1), Verdict::Take(2)];
        assert_eq!(verdicts, expected);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "not strictly ascending")]
    fn inputs_out_of_order_are_our_own_bug() {
        join_dots([1, 1], [2], |_| false, |_| false, drop);
    }
}

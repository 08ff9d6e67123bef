use alloc::collections::BTreeSet;
use core::cmp::Ordering;

use super::*;
use crate::crdt::{Decompose, Lattice};

/// A set of small numbers, which can be taken apart; `FAULT` breaks one law.
#[derive(Debug, Clone, PartialEq)]
struct Bits<const FAULT: u8>(BTreeSet<u8>);

impl<const FAULT: u8> Lattice for Bits<FAULT> {
    fn bottom() -> Self {
        Self(BTreeSet::new())
    }

    fn join(&mut self, other: &Self) -> bool {
        self.0.join(&other.0)
    }
}

impl<const FAULT: u8> PartialOrd for Bits<FAULT> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.0.is_subset(&other.0), other.0.is_subset(&self.0)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) if FAULT == 1 => Some(self.0.cmp(&other.0)),
            (false, false) => None,
        }
    }
}

impl<const FAULT: u8> Decompose for Bits<FAULT> {
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        let whole = (FAULT == 2 && self.0.len() > 1).then(|| self.clone());
        let bottom = (FAULT == 3).then(Self::bottom);
        self.0.iter().skip(usize::from(FAULT == 4)).map(|bit| Self([*bit].into())).chain(whole).chain(bottom)
    }

    fn minus(&self, other: &Self) -> Self {
        if FAULT == 5 { self.clone() } else { Self(self.0.difference(&other.0).copied().collect()) }
    }
}

fn all<const FAULT: u8>() -> [Bits<FAULT>; 5] {
    [&[][..], &[1], &[2], &[1, 2], &[2, 3]].map(|bits| Bits(bits.iter().copied().collect()))
}

#[test]
fn a_set_obeys_every_law() {
    join_laws(&all::<0>());
    order_laws(&all::<0>());
    decompose_laws(&all::<0>());
}

#[test]
#[should_panic(expected = "order\n")]
fn a_total_order_that_is_not_that_of_the_join_is_found() {
    order_laws(&all::<1>());
}

#[test]
#[should_panic(expected = "parts are irredundant")]
fn a_part_that_could_be_left_out_is_found() {
    decompose_laws(&all::<2>());
}

#[test]
#[should_panic(expected = "no part is bottom")]
fn a_part_that_is_bottom_is_found() {
    decompose_laws(&all::<3>());
}

#[test]
#[should_panic(expected = "parts\n")]
fn parts_that_are_not_the_whole_are_found() {
    decompose_laws(&all::<4>());
}

#[test]
#[should_panic(expected = "minus is least")]
fn a_difference_that_brings_too_much_is_found() {
    decompose_laws(&all::<5>());
}

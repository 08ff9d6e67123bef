//! The greatest and the least of what was seen.

use core::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::chain::{Chain, extreme};

/// The greatest value that anyone has added. Unset at first, which is below every value.
///
/// Of concurrent adds the greatest wins. A high-water mark; also, over a tuple, an order of your own. Cost: a comparison.
/// Source: Almeida, Shoker, Baquero, "Delta State Replicated Data Types" (2018): a chain, the simplest lattice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Max<T> {
    greatest: Chain<(T,)>,
}

/// The least value that anyone has added. Unset at first, as if it were above every value.
///
/// Of concurrent adds the least wins. The order is that of the join: the lesser value is the greater state. Cost: a comparison.
/// Source: as for [`Max`], with the order of the values turned round.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Min<T> {
    least: Chain<Reverse<(T,)>>,
}

extreme!(Max, greatest, value, [(value,)]);
extreme!(Min, least, value, [Reverse((value,))]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    const VALUES: [Option<u8>; 5] = [None, Some(0), Some(1), Some(u8::MAX - 1), Some(u8::MAX)];

    #[test]
    fn they_are_lattices_whose_deltas_say_what_their_operations_do() {
        assert_type::<Max<Option<u8>>>(&reachable(&VALUES, 40), &VALUES);
        assert_type::<Min<Option<u8>>>(&reachable(&VALUES, 40), &VALUES);
    }

    #[test]
    fn the_greatest_and_the_least_stay() {
        let (mut max, mut min) = (Max::new(), Min::new());
        assert_eq!((max.get(), min.get()), (None, None));
        for value in [2, 1, 3, 2] {
            let deltas = (max.add(value), min.add(value));
            assert_eq!((deltas.0.get(), deltas.1.get()), (Some(&value), Some(&value)));
        }
        assert_eq!((max.get(), min.get()), (Some(&3), Some(&1)));
    }

    #[test]
    fn anything_but_one_value_is_refused() {
        assert_unreadable::<Max<u8>>(&[1_u8, 2]);
        assert_unreadable::<Min<u8>>(&1_u8);
    }
}

//! A register whose first write wins.

use core::cmp::Reverse;
use serde::{Deserialize, Serialize};

use super::chain::{Chain, register};

/// One value, and the stamp that it was written with: the least stamp wins, and of equal stamps the least value. Unset at first.
///
/// Two replicas that have not heard of each other may both write. Both read their own value, until the joins reach them: then
/// all read the one that won. So it is a claim that all agree about in the end, not a lock.
///
/// The order is that of the join: a register that was written earlier is the greater one.
///
/// Cost: a join or a write is a comparison. Source: the register of Shapiro et al., "A comprehensive study" (2011), specification 8,
/// with its order turned round.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FirstWriteRegister<T, S> {
    written: Chain<Reverse<(S, T)>>,
}

register!(FirstWriteRegister, stamp, value, [Reverse((stamp, value))]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    const WRITES: [(u8, Option<u8>); 6] =
        [(0, None), (0, Some(1)), (1, None), (1, Some(0)), (u8::MAX - 1, Some(1)), (u8::MAX, Some(u8::MAX))];

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<FirstWriteRegister<Option<u8>, u8>>(&reachable(&WRITES, 40), &WRITES);
    }

    #[test]
    fn the_least_stamp_wins_and_then_the_least_value() {
        let mut register = FirstWriteRegister::new();
        assert_eq!((register.get(), register.stamp()), (None, None));
        let _unsent = register.set(1, "b");
        let late = register.set(2, "a");
        assert_eq!(late.get(), Some(&"a"));
        assert_eq!((register.get(), register.stamp()), (Some(&"b"), Some(&1)));
        let _unsent = register.set(1, "a");
        assert_eq!(register.get(), Some(&"a"));
        let _unsent = register.set(0, "z");
        assert_eq!(register.get(), Some(&"z"));
        assert_unreadable::<FirstWriteRegister<u8, u8>>(&[1_u8]);
    }
}

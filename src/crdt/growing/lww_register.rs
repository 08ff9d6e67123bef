//! A register whose last write wins.

use serde::{Deserialize, Serialize};

use super::chain::{Chain, register};

/// One value, and the stamp that it was written with. Unset at first.
///
/// Of concurrent writes the one with the greatest stamp wins, and of equal stamps the greatest value, so replicas agree even
/// when two writes share a stamp. A later write wins only if its stamp is greater: take stamps from a clock that never falls
/// behind what was seen, with the replica behind the time, as [`Hlc`](crate::causal::Hlc) does. A stamp that nothing is above
/// closes the register: whoever accepts stamps from others must bound them.
///
/// Cost: a join or a write is a comparison. Source: Shapiro et al., "A comprehensive study" (2011), specification 8.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LwwRegister<T, S> {
    written: Chain<(S, T)>,
}

register!(LwwRegister, stamp, value, [(stamp, value)]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Lattice;
    use crate::crdt::growing::tests::{assert_type, assert_unreadable, reachable};

    const WRITES: [(u8, Option<u8>); 6] =
        [(0, None), (0, Some(1)), (1, None), (1, Some(0)), (u8::MAX - 1, Some(1)), (u8::MAX, Some(u8::MAX))];

    #[test]
    fn it_is_a_lattice_whose_deltas_say_what_its_operations_do() {
        assert_type::<LwwRegister<Option<u8>, u8>>(&reachable(&WRITES, 40), &WRITES);
    }

    #[test]
    fn the_greatest_stamp_wins_and_then_the_greatest_value() {
        let mut register = LwwRegister::new();
        assert_eq!((register.get(), register.stamp()), (None, None));
        let _unsent = register.set(1, "b");
        let late = register.set(0, "z");
        assert_eq!(late.get(), Some(&"z"));
        assert_eq!((register.get(), register.stamp()), (Some(&"b"), Some(&1)));
        let _unsent = register.set(1, "a");
        assert_eq!(register.get(), Some(&"b"));
        let _unsent = register.set(2, "a");
        assert_eq!(register.get(), Some(&"a"));
    }

    #[test]
    fn a_value_that_is_nothing_is_not_unset() {
        let mut register = LwwRegister::new();
        let _unsent = register.set(0, ());
        assert!(!register.is_bottom());
        assert_unreadable::<LwwRegister<u8, u8>>(&[1_u8]);
        assert_unreadable::<LwwRegister<u8, u8>>(&[1_u8, 2, 3]);
    }
}

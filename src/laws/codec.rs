//! A type's bytes: what they must keep, and what bad ones must not do.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::Rng;
use super::slices::{Broken, equal};
use crate::crdt::Crdt;

type Write<T> = Box<dyn Fn(&T) -> Result<Vec<u8>, String>>;
type Read<T> = Box<dyn Fn(&[u8]) -> Result<T, String>>;

/// How states become bytes, and back.
pub(super) struct Codec<T> {
    pub(super) write: Write<T>,
    pub(super) read: Read<T>,
}

impl<T: Crdt + Debug> Codec<T> {
    pub(super) fn bytes(&self, state: &T) -> Result<Vec<u8>, Broken> {
        (self.write)(state).map_err(|error| Broken::new("bytes can be written", format!("bytes of {state:?}"), error))
    }

    /// The state, through bytes.
    pub(super) fn pass(&self, state: &T) -> Result<T, Broken> {
        let bytes = self.bytes(state)?;
        let read = (self.read)(&bytes);
        let read = read.map_err(|error| Broken::new("round trip", format!("{state:?}"), format!("{error}, of {bytes:x?}")))?;
        equal("round trip", &read, state, "decode(encode(state))")?;
        equal("equal bytes", &self.bytes(&read)?, &bytes, &format!("encoded again, of {state:?}"))?;
        Ok(read)
    }

    /// Nothing that is made of the bytes panics, and what is accepted is a state like others. Returns how many were tried.
    pub(super) fn mutate(&self, state: &T, other: &T, rng: &mut Rng) -> Result<u64, Broken> {
        let bytes = self.bytes(state)?;
        let mut tried = 0;
        for len in 0..bytes.len() {
            self.accept(bytes.get(..len).unwrap_or_default(), other)?;
            tried += 1;
        }
        for _ in 0..16 {
            let mut mutated = bytes.clone();
            for _ in 0..1 + rng.index(2) {
                let at = rng.index(mutated.len());
                let boundary = [0, 1, 0x7f, 0x80, 0xcf, 0xff];
                let with = if rng.chance(50) { *rng.pick(&boundary).unwrap_or(&0) } else { rng.next_u64().to_le_bytes()[0] };
                if let Some(byte) = mutated.get_mut(at) {
                    *byte = with;
                }
            }
            self.accept(&mutated, other)?;
            tried += 1;
        }
        Ok(tried)
    }

    fn accept(&self, bytes: &[u8], other: &T) -> Result<(), Broken> {
        let Ok(state) = (self.read)(bytes) else { return Ok(()) };
        self.pass(&state).map_err(|broken| Broken {
            law: "accepted bytes",
            observed: format!("{}, from the bytes {bytes:x?}", broken.observed),
            ..broken
        })?;
        let mut joined = other.clone();
        joined.join(&state);
        let mut state = state;
        state.join(other);
        // Whether they are equal is not a law of forged states; that all of it returns is.
        drop((joined.read(), state.read(), joined == state));
        Ok(())
    }
}

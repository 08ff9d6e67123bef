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
        equal("equal bytes", &self.bytes(&read)?, &bytes, format_args!("encoded again, of {state:?}"))?;
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
        for at in 0..bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let Some((byte, tail)) = tail.split_first() else { continue };
            let Some(longer) = rng.pick(&longer_forms(*byte)).cloned() else { continue };
            self.accept(&[head, &longer, tail].concat(), other)?;
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
        let again = self.bytes(&state)?;
        if again != bytes {
            let observed = format!("{again:x?}, from the accepted bytes of {state:?}");
            return Err(Broken::new("canonical bytes", format!("{bytes:x?}"), observed));
        }
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

/// What a byte could be spelled as at greater length, where it is a number, a length or a count: the next two widths of
/// MessagePack, and a varint with a zero behind it.
fn longer_forms(byte: u8) -> Vec<Vec<u8>> {
    let (count, len) = (byte & 0x0f, byte & 0x1f);
    match byte {
        0x80..=0x8f => [&[0xde, 0, count][..], &[0xdf, 0, 0, 0, count]].map(Vec::from).into(),
        0x90..=0x9f => [&[0xdc, 0, count][..], &[0xdd, 0, 0, 0, count]].map(Vec::from).into(),
        0xa0..=0xbf => [&[0xd9, len][..], &[0xda, 0, len]].map(Vec::from).into(),
        0x00..=0x7f => [&[0xcc, byte][..], &[0xcd, 0, byte], &[0xd0, byte], &[byte | 0x80, 0]].map(Vec::from).into(),
        0xe0..=0xff => [&[0xd0, byte][..], &[0xd1, 0xff, byte]].map(Vec::from).into(),
        0xc4 | 0xcc | 0xd0 | 0xd9 => [[byte + 1, 0]].map(Vec::from).into(),
        0xc5 | 0xcd | 0xd1 | 0xda | 0xdc | 0xde => [[byte + 1, 0, 0]].map(Vec::from).into(),
        0xce | 0xd2 => [[byte + 1, 0, 0, 0, 0]].map(Vec::from).into(),
        _ => Vec::new(),
    }
}

//! The name of a row: `key ++ kind ++ (field ++ kind)* ++ element`.
//!
//! | row | path |
//! |---|---|
//! | register, flag, veto flag, lattice | `key kind` |
//! | element of a set | `key SET element` |
//! | a contributor's part of a counter | `key COUNTER id` |
//! | a reset addressed to a contributor | `key COUNTER id 0x01` |
//! | a seal, under no key | `0x01 id` |
//! | anything in a map | `key MAP field …`, and so on to any depth |
//!
//! A kind byte is below every byte that starts a part of a key, so the rows of a key lie together, before those of longer
//! keys, and the order of bytes is the order of keys.

use core::fmt;

use smallvec::SmallVec;

use crate::causal::ReplicaId;
use crate::codec::DecodeError;
pub(crate) use crate::codec::key::PART_MIN;
use crate::codec::key::{Key, KeyBuf, KeyReader, KeyWriter};

use super::error::{Error, Limit, Result};

/// The longest path that a transaction may write, in bytes: a key with its fields and its element.
pub const PATH_MAX: usize = 1024;

/// The longest path that is taken from a peer. Above [`PATH_MAX`] by what a counter adds to it. Fixed by the protocol.
pub(crate) const PATH_HARD_MAX: usize = PATH_MAX + 32;

/// Marks the row of a reset, behind the contributor's id.
pub(crate) const RESET: u8 = 0x01;

/// Begins the row of a seal. Below every key.
pub(crate) const SEAL: u8 = 0x01;

const ID_LEN: usize = 16;

/// What is kept under a key. One key may have several kinds: they are rows of their own and never conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// One value; of concurrent ones, the latest is shown and all are kept until the next write.
    Register,
    /// A sum.
    Counter,
    /// A boolean: of concurrent writes, enable wins.
    Flag,
    /// A boolean: of concurrent writes, disable wins.
    VetoFlag,
    /// Elements: of a concurrent add and remove, add wins.
    Set,
    /// Fields, each of which is anything of this list again.
    Map,
    /// A user's own lattice.
    Lattice,
    /// A kind that this version does not know. Kept and passed on.
    Unknown(u8),
}

impl Kind {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Register => 1,
            Self::Counter => 2,
            Self::Flag => 3,
            Self::VetoFlag => 4,
            Self::Set => 5,
            Self::Map => 6,
            Self::Lattice => 7,
            Self::Unknown(byte) => byte,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Register,
            2 => Self::Counter,
            3 => Self::Flag,
            4 => Self::VetoFlag,
            5 => Self::Set,
            6 => Self::Map,
            7 => Self::Lattice,
            0 | PART_MIN.. => return None,
            unknown => Self::Unknown(unknown),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "register",
            Self::Counter => "counter",
            Self::Flag => "flag",
            Self::VetoFlag => "veto flag",
            Self::Set => "set",
            Self::Map => "map",
            Self::Lattice => "lattice",
            Self::Unknown(byte) => return write!(f, "kind {byte}"),
        })
    }
}

/// What a row is to its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    Register,
    CounterPart(ReplicaId),
    CounterReset(ReplicaId),
    Flag,
    VetoFlag,
    Element,
    Lattice,
    /// Of a replica; a row of the store's own, under no key.
    Seal(ReplicaId),
    Unknown(u8),
}

/// A path, taken apart. Everything is an offset into its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    /// Where the kind byte of each step stands: behind the key, then behind each field.
    pub(crate) kinds: SmallVec<[usize; 2]>,
    pub(crate) leaf: Leaf,
}

impl Parsed {
    /// How long the key in front is.
    pub(crate) fn key_len(&self) -> usize {
        self.kinds.first().copied().unwrap_or(0)
    }

    /// Takes a path apart.
    ///
    /// # Errors
    /// It is none. Behind a kind that this version does not know, everything is accepted.
    pub(crate) fn of(path: &[u8]) -> Result<Self, DecodeError> {
        let error = |at: usize, what| Err(DecodeError::new(at, what));
        if path.len() > PATH_HARD_MAX {
            return error(0, "a path above the limit");
        }
        let mut kinds = SmallVec::new();
        if let Some((&SEAL, id)) = path.split_first() {
            let Ok(id) = id.try_into() else { return error(1, "a seal of no replica") };
            return Ok(Self { kinds, leaf: Leaf::Seal(ReplicaId::from_bytes(id)) });
        }
        let mut start = 0;
        loop {
            let end = start + parts_len(path.get(start..).unwrap_or_default())?;
            if end == start {
                return error(start, "a path whose key has no part");
            }
            let Some(kind) = path.get(end).copied().and_then(Kind::from_byte) else {
                return error(end, "a path without a kind");
            };
            kinds.push(end);
            let rest = path.get(end + 1..).unwrap_or_default();
            let leaf = match kind {
                Kind::Map => {
                    start = end + 1;
                    continue;
                }
                Kind::Register => Leaf::Register,
                Kind::Flag => Leaf::Flag,
                Kind::VetoFlag => Leaf::VetoFlag,
                Kind::Lattice => Leaf::Lattice,
                Kind::Unknown(byte) => return Ok(Self { kinds, leaf: Leaf::Unknown(byte) }),
                Kind::Set => {
                    if rest.is_empty() || parts_len(rest)? != rest.len() {
                        return error(end + 1, "an element of a set that is no key");
                    }
                    return Ok(Self { kinds, leaf: Leaf::Element });
                }
                Kind::Counter => {
                    let Some((id, rest)) = rest.split_first_chunk::<ID_LEN>() else {
                        return error(end + 1, "a counter's row without a replica");
                    };
                    let id = ReplicaId::from_bytes(*id);
                    return match rest {
                        // Whoever deletes the part writes its reset, one byte longer, and every peer must take that.
                        [] if path.len() == PATH_HARD_MAX => error(0, "a counter's row without room for its reset"),
                        [] => Ok(Self { kinds, leaf: Leaf::CounterPart(id) }),
                        [RESET] => Ok(Self { kinds, leaf: Leaf::CounterReset(id) }),
                        _longer => error(end + 1 + ID_LEN, "a counter's row with bytes behind it"),
                    };
                }
            };
            return if rest.is_empty() { Ok(Self { kinds, leaf }) } else { error(end + 1, "bytes behind a path") };
        }
    }
}

/// Whether a path is a row of the store's own, under no key.
pub(crate) fn is_own(path: &[u8]) -> bool {
    path.first().is_some_and(|first| *first < PART_MIN)
}

/// Whether a path is the row of a reset that is addressed to a replica.
pub(crate) fn is_reset_of(path: &[u8], id: ReplicaId) -> bool {
    // Most rows are told apart by their last byte.
    path.split_last().is_some_and(|(last, part)| *last == RESET && part.ends_with(&id.to_bytes()))
        && Parsed::of(path).is_ok_and(|parsed| parsed.leaf == Leaf::CounterReset(id))
}

/// The part of a counter that a row belongs to, if the row is that part of a replica, or the resets that are addressed to it.
pub(crate) fn counter_part_of(path: &[u8], id: ReplicaId) -> Option<&[u8]> {
    let without_last = path.split_last().map_or(path, |(_reset, part)| part);
    // Most rows are told apart by their last bytes.
    if !path.ends_with(&id.to_bytes()) && !without_last.ends_with(&id.to_bytes()) {
        return None;
    }
    let leaf = Parsed::of(path).ok()?.leaf;
    if leaf == Leaf::CounterPart(id) {
        return Some(path);
    }
    (leaf == Leaf::CounterReset(id)).then_some(without_last)
}

/// How many bytes of parts stand in front of the first kind byte, or the end.
pub(crate) fn parts_len(bytes: &[u8]) -> Result<usize, DecodeError> {
    Ok(KeyReader::new(bytes).skip_parts()?.len())
}

/// The smallest byte string above all that begin with `prefix`; `None` if there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// The key in front of a path; what there is of it, if the path is none.
pub(crate) fn key_of(path: &[u8]) -> KeyBuf {
    let len = parts_len(path).unwrap_or(0);
    KeyBuf::from_encoded(path.get(..len).unwrap_or_default()).unwrap_or_else(|_none| KeyBuf::from_key(()))
}

/// Where a handle points: the path up to and with its kind. Mostly on the stack.
///
/// Handles are made without an error, so a key that cannot be one is remembered here and refused at the first use.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    bytes: SmallVec<[u8; 64]>,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    NoPart,
    TooLong(usize),
}

impl Spot {
    /// The spot of `kind` under `key`, in the map at `base` (empty: not in a map).
    pub(crate) fn new(base: &[u8], key: impl Key, kind: Kind) -> Self {
        let mut to = KeyWriter::from_bytes(base);
        key.encode(&mut to);
        let mut bytes = to.into_inner();
        let fault = if bytes.len() == base.len() {
            Some(Fault::NoPart)
        } else if bytes.len() >= PATH_MAX {
            Some(Fault::TooLong(bytes.len() + 1))
        } else {
            None
        };
        bytes.push(kind.byte());
        Self { bytes, fault }
    }

    /// Its bytes, if the key can be one.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        match self.fault {
            None => Ok(&self.bytes),
            Some(Fault::NoPart) => Err(Error::Refused("a key needs at least one part")),
            Some(Fault::TooLong(len)) => Err(Error::TooLarge { what: Limit::Key, is: len as u64, cap: PATH_MAX as u64 }),
        }
    }

    /// Its bytes as the base of a map's fields. A fault of the map's key goes over to the fields.
    pub(crate) fn field(&self, key: impl Key, kind: Kind) -> Self {
        let field = Self::new(&self.bytes, key, kind);
        Self { fault: self.fault.or(field.fault), bytes: field.bytes }
    }

    /// The path of an element behind it.
    pub(crate) fn element<Q: Key + ?Sized>(&self, element: &Q) -> Result<SmallVec<[u8; 64]>> {
        let base = self.bytes()?;
        let mut to = KeyWriter::from_bytes(base);
        element.encode(&mut to);
        let path = to.into_inner();
        if path.len() == base.len() {
            return Err(Error::Refused("an element needs at least one part"));
        }
        if path.len() > PATH_MAX {
            return Err(Error::TooLarge { what: Limit::Key, is: path.len() as u64, cap: PATH_MAX as u64 });
        }
        Ok(path)
    }

    /// The path of a contributor's part of the counter here, or of the reset addressed to it.
    pub(crate) fn counter_row(&self, contributor: ReplicaId, reset: bool) -> Result<SmallVec<[u8; 64]>> {
        let mut path = SmallVec::from_slice(self.bytes()?);
        path.extend_from_slice(&contributor.to_bytes());
        if reset {
            path.push(RESET);
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn path(key: impl Key, kind: Kind) -> Bytes {
        Bytes::copy_from_slice(Spot::new(&[], key, kind).bytes().unwrap())
    }

    #[test]
    fn rows_of_a_key_lie_before_longer_keys_and_apart_from_other_keys() {
        let mut paths = vec![
            path("foo", Kind::Register),
            path("foo", Kind::Lattice),
            path(("foo", 1), Kind::Register),
            path("foobar", Kind::Register),
        ];
        let sorted = paths.clone();
        paths.sort();
        assert_eq!(paths, sorted);
    }

    #[test]
    fn what_is_no_path_is_refused_and_unknown_kinds_are_not() {
        let register = path("a", Kind::Register);
        assert!(Parsed::of(&register).is_ok());
        assert!(Parsed::of(&register[..register.len() - 1]).is_err());
        assert!(Parsed::of(&[&register[..], &[0]].concat()).is_err());
        assert!(Parsed::of(&[1]).is_err() && Parsed::of(&[2]).is_err() && Parsed::of(&[1; 18]).is_err());
        assert!(Parsed::of(&[1; 17]).is_ok());
        assert!(Parsed::of(&[]).is_err());
        let unknown = path("a", Kind::Unknown(0x1f));
        assert!(Parsed::of(&[&unknown[..], b"anything"].concat()).is_ok());
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_that_begin_with_it() {
        assert_eq!(after_prefix(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after_prefix(&[1, 0xff]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xff]), None);
        assert_eq!(after_prefix(&[]), None);
    }
}

//! The name of a row, for people.

use core::fmt;

use bytes::Bytes;

use super::path::{Kind, Leaf, Parsed, key_of};
use crate::causal::ReplicaId;
use crate::codec::key::KeyBuf;

/// The name of a row, as merge reports it and errors print it: `("cart", 7) map "title" register`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowPath(Bytes);

impl RowPath {
    pub(crate) const fn new(path: Bytes) -> Self {
        Self(path)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> KeyBuf {
        key_of(&self.0)
    }

    /// The kind under the key; of a row in a map, that is the map.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.steps().next().map_or(Kind::Unknown(0), |(_key, kind)| kind)
    }

    /// The fields that lead to the row through maps; none for a row that is in no map.
    #[must_use]
    pub fn fields(&self) -> Vec<KeyBuf> {
        self.steps().skip(1).map(|(field, _kind)| field).collect()
    }

    /// The kind of the row itself.
    #[must_use]
    pub fn row_kind(&self) -> Kind {
        self.steps().last().map_or(Kind::Unknown(0), |(_key, kind)| kind)
    }

    /// The element, of a row of a set.
    #[must_use]
    pub fn element(&self) -> Option<KeyBuf> {
        let parsed = Parsed::of(&self.0).ok()?;
        let last = parsed.kinds.last()?;
        (parsed.leaf == Leaf::Element).then(|| KeyBuf::from_encoded(self.0.get(last + 1..).unwrap_or_default()).ok())?
    }

    /// Whose part of a counter it is, or to whom a reset is addressed.
    #[must_use]
    pub fn contributor(&self) -> Option<ReplicaId> {
        match Parsed::of(&self.0).ok()?.leaf {
            Leaf::CounterPart(contributor) | Leaf::CounterReset(contributor) => Some(contributor),
            Leaf::Register | Leaf::Flag | Leaf::VetoFlag | Leaf::Element | Leaf::Lattice | Leaf::Seal(_) | Leaf::Unknown(_) => {
                None
            }
        }
    }

    /// Whether it is a reset: what a delete of a counter tells a contributor.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        Parsed::of(&self.0).is_ok_and(|parsed| matches!(parsed.leaf, Leaf::CounterReset(_)))
    }

    fn steps(&self) -> impl Iterator<Item = (KeyBuf, Kind)> {
        let kinds = Parsed::of(&self.0).map(|parsed| parsed.kinds).unwrap_or_default();
        let mut start = 0;
        kinds.into_iter().filter_map(move |end| {
            let key = KeyBuf::from_encoded(self.0.get(start..end)?).ok()?;
            let kind = self.0.get(end).copied().and_then(Kind::from_byte)?;
            start = end + 1;
            Some((key, kind))
        })
    }
}

impl fmt::Display for RowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, kind)) in self.steps().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{key} {kind}")?;
        }
        if let Some(element) = self.element() {
            write!(f, " {element}")?;
        }
        if let Some(contributor) = self.contributor() {
            write!(f, " {}{contributor}", if self.is_reset() { "reset of " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for RowPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::path::Spot;

    #[test]
    fn a_path_prints_as_it_was_made() {
        let map = Spot::new(&[], ("note", 7), Kind::Map);
        let tags = map.field("tags", Kind::Set);
        let element = tags.element("draft").unwrap();
        let row = RowPath::new(Bytes::copy_from_slice(&element));
        assert_eq!(row.to_string(), r#"("note", 7) map "tags" set "draft""#);
        assert_eq!(row.kind(), Kind::Map);
        assert_eq!(row.row_kind(), Kind::Set);
        assert_eq!(row.key(), KeyBuf::from_key(("note", 7)));
        assert_eq!(row.fields(), [KeyBuf::from_key("tags")]);
    }
}

//! What is checked: the cells of a schema, and what a delete of something larger than a cell reaches.

use core::fmt;

/// How a cell is written and read, and what happens to concurrent writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One value of 64 bits; concurrent values are siblings, of which one wins.
    Register,
    /// A sum.
    Counter,
    /// Enabled or not; of concurrent writes, enable wins.
    Flag,
    /// Enabled or not; of concurrent writes, disable wins.
    VetoFlag,
    /// A set of small numbers; of concurrent writes, insert wins.
    Set,
    /// A user's own lattice: a set of small numbers that only grows, until it is deleted from outside.
    Lattice,
}

/// One typed place: a key, the map fields that lead to it, and its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// The parts of the key.
    pub key: Vec<String>,
    /// The fields that lead from the key to the cell, outermost first. Empty: the cell is the key's own. Otherwise the key
    /// holds a map, every field but the last holds a map, and the last holds the cell.
    pub fields: Vec<String>,
    /// Its kind.
    pub kind: Kind,
}

/// Which cell of a [`Schema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub(super) usize);

impl CellId {
    /// Its place in [`Schema::cells`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What one delete can reach beyond a cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything under one key, of every kind, nested too.
    Key(Vec<String>),
    /// Everything under every key that begins with these parts, the key that is equal to them included.
    Prefix(Vec<String>),
    /// Everything in a map. The map is the one that the fields lead to, or the key's own if there are none.
    Map {
        /// The parts of the key.
        key: Vec<String>,
        /// The fields that lead to the map.
        fields: Vec<String>,
    },
    /// Everything in one field of a map, of every kind, nested too.
    Field {
        /// The parts of the key.
        key: Vec<String>,
        /// The fields that lead to the field; the last one is the field itself. Never empty.
        fields: Vec<String>,
    },
}

/// Which scope of a [`Schema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub(super) usize);

impl ScopeId {
    /// Its place in [`Schema::scopes`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// The cells that a history writes and reads.
///
/// ```
/// use tombolo::sim::{Kind, Schema};
///
/// let schema = Schema::new()
///     .cell(&["cart", "7"], &[], Kind::Set)
///     .cell(&["cart", "7"], &["apple", "amount"], Kind::Counter);
/// assert_eq!(schema.cells().len(), 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Schema {
    cells: Vec<Cell>,
    /// Sorted by scope. Each reaches at least one cell; the cells are in order.
    scopes: Vec<(Scope, Vec<CellId>)>,
}

impl Schema {
    /// Without a cell.
    #[must_use]
    pub const fn new() -> Self {
        Self { cells: Vec::new(), scopes: Vec::new() }
    }

    /// Our own: every kind, at the top and nested in maps, two deep too; a key with two kinds under it; keys with common
    /// leading parts, and one whose text merely begins alike.
    #[must_use]
    pub fn every_kind() -> Self {
        Self::new()
            .cell(&["notes"], &[], Kind::Register)
            .cell(&["visits"], &[], Kind::Counter)
            .cell(&["visits"], &[], Kind::Register)
            .cell(&["open"], &[], Kind::Flag)
            .cell(&["locked"], &[], Kind::VetoFlag)
            .cell(&["tags"], &[], Kind::Set)
            .cell(&["seen"], &[], Kind::Lattice)
            .cell(&["note", "1"], &[], Kind::Register)
            .cell(&["note", "1"], &["likes"], Kind::Counter)
            .cell(&["note", "2"], &["done"], Kind::Flag)
            .cell(&["note", "2"], &["tags"], Kind::Set)
            .cell(&["note", "2"], &["seen"], Kind::Lattice)
            .cell(&["note", "2"], &["meta", "title"], Kind::Register)
            .cell(&["note", "2"], &["meta", "hits"], Kind::Counter)
            .cell(&["note", "2"], &["meta", "locked"], Kind::VetoFlag)
    }

    /// Adds a cell: the parts of its key, the fields that lead to it, its kind. A cell that is there already is not added.
    ///
    /// # Panics
    /// The key has no part.
    #[must_use]
    pub fn cell(mut self, key: &[&str], fields: &[&str], kind: Kind) -> Self {
        assert!(!key.is_empty(), "a key has at least one part");
        let owned = |parts: &[&str]| parts.iter().map(|part| String::from(*part)).collect::<Vec<_>>();
        let cell = Cell { key: owned(key), fields: owned(fields), kind };
        if !self.cells.contains(&cell) {
            self.cells.push(cell);
            self.scopes = scopes_of(&self.cells);
        }
        self
    }

    /// Every cell, in the order in which they were added.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The ids of the cells, in order.
    pub fn cell_ids(&self) -> impl ExactSizeIterator<Item = CellId> + use<> {
        (0..self.cells.len()).map(CellId)
    }

    /// One cell.
    ///
    /// # Panics
    /// The id is of another schema.
    #[must_use]
    pub fn at(&self, cell: CellId) -> &Cell {
        self.cells.get(cell.0).expect("an id of this schema")
    }

    /// The id of a cell; `None` if the schema does not have it.
    #[must_use]
    pub fn cell_id(&self, key: &[&str], fields: &[&str], kind: Kind) -> Option<CellId> {
        let is_it = |cell: &Cell| cell.key == key && cell.fields == fields && cell.kind == kind;
        self.cells.iter().position(is_it).map(CellId)
    }

    /// The id of a scope; `None` if it is none of [`scopes`](Self::scopes).
    #[must_use]
    pub fn scope_id(&self, scope: &Scope) -> Option<ScopeId> {
        self.scopes().position(|known| known == scope).map(ScopeId)
    }

    /// Everything larger than a cell that one delete can reach: each key, each proper prefix of a key, each map, each field.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &Scope> {
        self.scopes.iter().map(|(scope, _)| scope)
    }

    /// One scope.
    ///
    /// # Panics
    /// The id is of another schema.
    #[must_use]
    pub fn scope(&self, scope: ScopeId) -> &Scope {
        &self.scopes.get(scope.0).expect("an id of this schema").0
    }

    /// The cells that a delete of the scope reaches, in order.
    ///
    /// # Panics
    /// The id is of another schema.
    #[must_use]
    pub fn cells_in(&self, scope: ScopeId) -> &[CellId] {
        &self.scopes.get(scope.0).expect("an id of this schema").1
    }
}

fn scopes_of(cells: &[Cell]) -> Vec<(Scope, Vec<CellId>)> {
    let mut scopes = Vec::new();
    for Cell { key, fields, .. } in cells {
        scopes.push(Scope::Key(key.clone()));
        scopes.extend((1..key.len()).filter_map(|len| key.get(..len)).map(|parts| Scope::Prefix(parts.to_vec())));
        for depth in 0..fields.len() {
            let (outer, through) = (fields.get(..depth), fields.get(..=depth));
            scopes.extend(outer.map(|outer| Scope::Map { key: key.clone(), fields: outer.to_vec() }));
            scopes.extend(through.map(|through| Scope::Field { key: key.clone(), fields: through.to_vec() }));
        }
    }
    scopes.sort();
    scopes.dedup();
    let reach = |scope: &Scope| (0..).zip(cells).filter(|(_, cell)| scope.reaches(cell)).map(|(id, _)| CellId(id)).collect();
    scopes.into_iter().map(|scope| (reach(&scope), scope)).map(|(cells, scope)| (scope, cells)).collect()
}

impl Scope {
    /// Whether a delete of it reaches the cell.
    #[must_use]
    pub fn reaches(&self, cell: &Cell) -> bool {
        match self {
            Self::Key(key) => cell.key == *key,
            Self::Prefix(parts) => cell.key.starts_with(parts),
            Self::Map { key, fields } => {
                cell.key == *key && cell.fields.starts_with(fields) && cell.fields.len() > fields.len()
            }
            Self::Field { key, fields } => cell.key == *key && cell.fields.starts_with(fields),
        }
    }
}

/// Writes `note/2` and then `.meta.title`.
fn write_place(f: &mut fmt::Formatter<'_>, key: &[String], fields: &[String]) -> fmt::Result {
    f.write_str(&key.join("/"))?;
    fields.iter().try_for_each(|field| write!(f, ".{field}"))
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Register => "register",
            Kind::Counter => "counter",
            Kind::Flag => "flag",
            Kind::VetoFlag => "veto flag",
            Kind::Set => "set",
            Kind::Lattice => "lattice",
        };
        write!(f, "{kind} ")?;
        write_place(f, &self.key, &self.fields)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, key, fields): (_, _, &[String]) = match self {
            Self::Key(key) => ("key", key, &[]),
            Self::Prefix(parts) => ("prefix", parts, &[]),
            Self::Map { key, fields } => ("map", key, fields),
            Self::Field { key, fields } => ("field", key, fields),
        };
        write!(f, "{what} ")?;
        write_place(f, key, fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(schema: &Schema, scope: &str) -> Vec<String> {
        let at = schema.scopes().position(|known| known.to_string() == scope).expect("a known scope");
        schema.cells_in(ScopeId(at)).iter().map(|cell| schema.at(*cell).to_string()).collect()
    }

    #[test]
    fn a_prefix_reaches_whole_parts_only() {
        let reached = reached(&Schema::every_kind(), "prefix note");
        assert_eq!(reached.len(), 8);
        assert!(reached.iter().all(|cell| cell.contains(" note/")), "{reached:?}");
    }

    #[test]
    fn a_key_reaches_every_kind_under_it_and_a_map_only_its_fields() {
        let schema = Schema::every_kind();
        assert_eq!(reached(&schema, "key visits"), ["counter visits", "register visits"]);
        assert_eq!(reached(&schema, "key note/1"), ["register note/1", "counter note/1.likes"]);
        assert_eq!(reached(&schema, "map note/1"), ["counter note/1.likes"]);
        assert_eq!(reached(&schema, "map note/2.meta"), reached(&schema, "field note/2.meta"));
        assert_eq!(reached(&schema, "map note/2").len(), 6);
        assert_eq!(reached(&schema, "field note/2.meta.hits"), ["counter note/2.meta.hits"]);
    }
}

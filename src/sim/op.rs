//! What an application does in a transaction, and a generator of it.

use core::fmt;
use std::collections::BTreeSet;

use super::schema::{CellId, Kind, Schema, ScopeId};
use crate::laws::Rng;

/// One operation of a transaction. Later operations of a transaction see the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a register over everything that is visible.
    Set {
        /// The register.
        cell: CellId,
        /// The value.
        value: u64,
    },
    /// Writes a register over exactly what an earlier read at the same replica saw, and over what the same transaction wrote
    /// to it before.
    SetOver {
        /// The register.
        cell: CellId,
        /// The value.
        value: u64,
        /// Which read: its place in the `hand` that [`Subject::transact`](super::Subject::transact) gets. In a
        /// [`Plan`](super::Plan), the step that took it.
        read: usize,
    },
    /// Adds to a counter.
    Add {
        /// The counter.
        cell: CellId,
        /// How much; may be negative or 0.
        amount: i64,
    },
    /// Enables a flag of either kind.
    Enable(CellId),
    /// Disables a flag of either kind.
    Disable(CellId),
    /// Inserts an element into a set.
    Insert {
        /// The set.
        cell: CellId,
        /// The element.
        element: u64,
    },
    /// Removes an element from a set.
    Remove {
        /// The set.
        cell: CellId,
        /// The element.
        element: u64,
    },
    /// Joins a delta into a lattice.
    Join {
        /// The lattice.
        cell: CellId,
        /// The delta: elements to add.
        delta: BTreeSet<u64>,
    },
    /// Deletes a register or a flag, resets a counter, clears a set. Not generated for a lattice, which has no delete of its
    /// own: it goes with its key, its map or its field.
    Clear(CellId),
    /// Deletes everything in a scope.
    Delete(ScopeId),
}

impl Op {
    /// The cell that it names; `None` for a scope.
    #[must_use]
    pub const fn cell(&self) -> Option<CellId> {
        match self {
            Self::Set { cell, .. }
            | Self::SetOver { cell, .. }
            | Self::Add { cell, .. }
            | Self::Enable(cell)
            | Self::Disable(cell)
            | Self::Insert { cell, .. }
            | Self::Remove { cell, .. }
            | Self::Join { cell, .. }
            | Self::Clear(cell) => Some(*cell),
            Self::Delete(_) => None,
        }
    }

    /// In words, as a trace prints it.
    pub fn display<'a>(&'a self, schema: &'a Schema) -> impl fmt::Display + 'a {
        struct InWords<'a>(&'a Op, &'a Schema);

        impl fmt::Display for InWords<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(op, schema) = self;
                match op {
                    Op::Set { cell, value } => write!(f, "set {} = {value}", schema.at(*cell)),
                    Op::SetOver { cell, value, read } => {
                        write!(f, "set {} = {value} over the read of step {read}", schema.at(*cell))
                    }
                    Op::Add { cell, amount } => write!(f, "add {amount:+} to {}", schema.at(*cell)),
                    Op::Enable(cell) => write!(f, "enable {}", schema.at(*cell)),
                    Op::Disable(cell) => write!(f, "disable {}", schema.at(*cell)),
                    Op::Insert { cell, element } => write!(f, "insert {element} into {}", schema.at(*cell)),
                    Op::Remove { cell, element } => write!(f, "remove {element} from {}", schema.at(*cell)),
                    Op::Join { cell, delta } => write!(f, "join {delta:?} into {}", schema.at(*cell)),
                    Op::Clear(cell) => write!(f, "clear {}", schema.at(*cell)),
                    Op::Delete(scope) => write!(f, "delete {}", schema.scope(*scope)),
                }
            }
        }

        InWords(self, schema)
    }
}

/// Small domains, so that equal values, equal elements and overlapping deltas occur.
const VALUES: u64 = 50;
const ELEMENTS: u64 = 3;
const LATTICE_ELEMENTS: u64 = 12;

/// Draws operations. A few cells of each history are *hot*: most operations meet there.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    schema: &'a Schema,
    hot: Vec<CellId>,
}

impl<'a> Generator<'a> {
    pub(super) fn new(schema: &'a Schema, rng: &mut Rng) -> Self {
        let count = 3 + rng.index(4);
        let cells: Vec<_> = schema.cell_ids().collect();
        Self { schema, hot: (0..count).filter_map(|_| rng.pick(&cells).copied()).collect() }
    }

    /// A cell: mostly a hot one.
    ///
    /// # Panics
    /// The schema has no cell.
    pub(super) fn cell(&self, rng: &mut Rng) -> CellId {
        let hot = rng.pick(&self.hot).copied().expect("a schema has cells");
        if rng.chance(90) { hot } else { CellId(rng.index(self.schema.cells().len())) }
    }

    /// A register to read now and to write over later: mostly a hot one. `None` if there is none.
    pub(super) fn register(&self, rng: &mut Rng) -> Option<CellId> {
        let registers = |cells: &mut dyn Iterator<Item = CellId>| {
            cells.filter(|cell| self.schema.at(*cell).kind == Kind::Register).collect::<Vec<_>>()
        };
        let hot = registers(&mut self.hot.iter().copied());
        let any = registers(&mut self.schema.cell_ids());
        let from = if rng.chance(80) && !hot.is_empty() { &hot } else { &any };
        rng.pick(from).copied()
    }

    /// An operation. `reads`: the reads that its replica has taken, as (step, cell).
    pub(super) fn op(&self, reads: &[(usize, CellId)], rng: &mut Rng) -> Op {
        let scopes = self.schema.scopes().len();
        if scopes > 0 && rng.chance(10) {
            return Op::Delete(ScopeId(rng.index(scopes)));
        }
        if rng.chance(10)
            && let Some((read, cell)) = rng.pick(reads).copied()
        {
            return Op::SetOver { cell, value: rng.below(VALUES), read };
        }
        let cell = self.cell(rng);
        let percent = rng.below(100);
        match self.schema.at(cell).kind {
            Kind::Register if percent < 75 => Op::Set { cell, value: rng.below(VALUES) },
            Kind::Counter if percent < 70 => {
                Op::Add { cell, amount: rng.pick(&[-3, -2, -1, 0, 1, 2, 3, 5]).copied().unwrap_or(0) }
            }
            Kind::Flag | Kind::VetoFlag if percent < 42 => Op::Enable(cell),
            Kind::Flag | Kind::VetoFlag if percent < 84 => Op::Disable(cell),
            Kind::Set if percent < 55 => Op::Insert { cell, element: rng.below(ELEMENTS) },
            Kind::Set if percent < 85 => Op::Remove { cell, element: rng.below(ELEMENTS) },
            Kind::Lattice => Op::Join { cell, delta: (0..=rng.below(3)).map(|_| rng.below(LATTICE_ELEMENTS)).collect() },
            Kind::Register | Kind::Counter | Kind::Flag | Kind::VetoFlag | Kind::Set => Op::Clear(cell),
        }
    }
}

//! One transaction of the naive replica: the operations, then the numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rows::{Own, PENDING, Part, Path, Payload, Reset, Row};
use super::{Defect, Naive, NaivePushed, NaiveSeen};
use crate::causal::{Dot, ReplicaId};
use crate::sim::op::Op;
use crate::sim::schema::{CellId, Scope};
use crate::sim::subject::Fault;

/// A transaction that runs: the replica as its later operations see it.
pub(super) struct Transaction<'a> {
    after: &'a mut Naive,
    /// What each row that it touched was before; empty if it was absent.
    touched: BTreeMap<Path, Row>,
}

impl<'a> Transaction<'a> {
    pub(super) const fn begin(after: &'a mut Naive) -> Self {
        Self { after, touched: BTreeMap::new() }
    }

    /// Replaces what `over` says of a row by a new entry, or by nothing.
    fn write(&mut self, cell: CellId, part: Part, payload: Option<Payload>, over: impl Fn(&Dot) -> bool) {
        let path = Path { cell, part };
        let pending = Dot::new(self.after.me, PENDING);
        let rows = Arc::make_mut(&mut self.after.rows);
        let row = rows.entry(path).or_default();
        self.touched.entry(path).or_insert_with(|| row.clone());
        row.retain(|(dot, _)| *dot != pending && !over(dot));
        row.extend(payload.map(|payload| (pending, payload)));
        if row.is_empty() {
            rows.remove(&path);
        }
    }

    fn replace(&mut self, cell: CellId, part: Part, payload: Option<Payload>) {
        self.write(cell, part, payload, |_| true);
    }

    pub(super) fn op(&mut self, op: &Op, hand: &[&NaiveSeen]) -> Result<(), Fault> {
        match op {
            Op::Set { cell, value } => self.set(*cell, *value, |_| true),
            Op::SetOver { cell, value, read } => {
                let NaiveSeen(seen) = hand.get(*read).ok_or("a read that was never taken")?;
                let all = self.after.has(Defect::SetOverReplacesAll);
                self.set(*cell, *value, |dot| all || seen.contains(dot));
            }
            Op::Add { cell, amount } => self.add(*cell, *amount)?,
            Op::Enable(cell) => self.replace(*cell, Part::Whole, Some(Payload::Flag(true))),
            Op::Disable(cell) => self.replace(*cell, Part::Whole, Some(Payload::Flag(false))),
            Op::Insert { cell, element } => self.replace(*cell, Part::Element(*element), Some(Payload::Member)),
            Op::Remove { cell, element } => self.replace(*cell, Part::Element(*element), None),
            Op::Join { cell, delta } => {
                let mut whole = delta.clone();
                if !self.after.has(Defect::LatticeDeltaAlone) {
                    whole
                        .extend(self.after.row(*cell, Part::Whole).iter().filter_map(|(_, payload)| payload.whole()).flatten());
                }
                self.replace(*cell, Part::Whole, Some(Payload::Whole(whole)));
            }
            Op::Clear(cell) => self.clear(*cell, false),
            Op::Delete(scope) => {
                let schema = Arc::clone(&self.after.schema);
                let depth = match schema.scope(*scope) {
                    Scope::Key(_) | Scope::Prefix(_) => 0,
                    Scope::Map { fields, .. } | Scope::Field { fields, .. } => fields.len(),
                };
                let shallow = self.after.has(Defect::NestedDeleteShallow);
                for cell in schema.cells_in(*scope) {
                    if !shallow || schema.at(*cell).fields.len() <= depth + 1 {
                        self.clear(*cell, self.after.has(Defect::DeleteDropsResets));
                    }
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, cell: CellId, value: u64, over: impl Fn(&Dot) -> bool) {
        let stamp = self.after.clock;
        let keeps = |dot: &Dot| self.after.has(Defect::IdsForCausality) && dot.replica > self.after.me;
        let kept: Vec<_> = self.after.row(cell, Part::Whole).iter().map(|(dot, _)| *dot).filter(keeps).collect();
        self.write(cell, Part::Whole, Some(Payload::Value { stamp, value }), |dot| over(dot) && !kept.contains(dot));
    }

    fn add(&mut self, cell: CellId, amount: i64) -> Result<(), Fault> {
        let me = self.after.me;
        let fresh = Own { frame: PENDING, sum: 0, base_seq: 0, base: 0 };
        let mut own = fresh;
        if let Some((seq, live, reset)) = self.after.own(cell, me) {
            own = live;
            if let Some(reset) = reset
                && !self.after.has(Defect::ResetDroppedUnconsumed)
            {
                (own.base_seq, own.base) = (reset.seq, reset.sum);
            }
            let is_over = if self.after.has(Defect::NewFrameAtNetZero) { own.sum == own.base } else { own.base_seq == seq };
            if is_over {
                own = fresh;
            }
        }
        own.sum = own.sum.checked_add(amount).ok_or("a counter above 64 bits")?;
        self.replace(cell, Part::Reset(me), None);
        self.replace(cell, Part::Own(me), Some(Payload::Own(own)));
        Ok(())
    }

    fn clear(&mut self, cell: CellId, drops_resets: bool) {
        let me = self.after.me;
        let parts: Vec<_> = self.after.parts(cell).map(|(part, _)| part).collect();
        for part in parts {
            match part {
                Part::Own(replica) => {
                    if let Some((seq, own, _)) = self.after.own(cell, replica)
                        && replica != me
                        && !self.after.has(Defect::ResetsNotAddressed)
                    {
                        let reset = Reset { frame: own.frame, seq, sum: own.sum };
                        self.replace(cell, Part::Reset(replica), Some(Payload::Reset(reset)));
                    }
                    if replica == me {
                        self.replace(cell, Part::Reset(me), None);
                    }
                    self.replace(cell, part, None);
                }
                Part::Reset(_) if !drops_resets => {}
                Part::Whole | Part::Element(_) | Part::Reset(_) => self.replace(cell, part, None),
            }
        }
    }

    /// Takes every reset into account that is addressed to this replica: whatever the transaction wrote, if it wrote anything.
    fn take_resets(&mut self) {
        let me = self.after.me;
        let is_pending = |row: &Row| row.iter().any(|(dot, _)| dot.seq == PENDING);
        let now = |path: &Path| self.after.rows.get(path);
        if !self.touched.iter().any(|(path, was)| now(path).map_or(!was.is_empty(), |row| is_pending(row) || row != was)) {
            return;
        }
        let cells: Vec<_> = self.after.rows.keys().filter(|path| path.part == Part::Reset(me)).map(|path| path.cell).collect();
        for cell in cells {
            if let Some((_, own, Some(reset))) = self.after.own(cell, me)
                && !self.after.has(Defect::ResetDroppedUnconsumed)
            {
                let own = Own { base_seq: reset.seq, base: reset.sum, ..own };
                self.replace(cell, Part::Own(me), Some(Payload::Own(own)));
            }
            self.replace(cell, Part::Reset(me), None);
        }
    }

    /// Gives the rows their numbers. Returns what is to be pushed, if anything is.
    pub(super) fn end(mut self) -> Option<NaivePushed> {
        self.take_resets();
        let Self { after, touched } = self;
        let (me, start) = (after.me, after.version.get(after.me));
        let deletes_count = !after.has(Defect::DeleteWithoutDot);
        let rows = Arc::make_mut(&mut after.rows);
        let mut last = start;
        let mut pushed = Vec::new();
        for (path, was) in touched {
            let mut row = rows.get_mut(&path);
            let own = row.as_mut().and_then(|row| row.iter_mut().find(|(dot, _)| dot.seq == PENDING));
            if own.is_none() && (was.is_empty() || !deletes_count) {
                continue;
            }
            last += 1;
            let payload = own.map(|(dot, payload)| {
                dot.seq = last;
                if let Payload::Own(own) = payload
                    && own.frame == PENDING
                {
                    own.frame = last;
                }
                payload.clone()
            });
            if let Some(row) = &mut row {
                row.sort_unstable_by_key(|(dot, _)| *dot);
            }
            let left = row.map_or(&[][..], |row| row);
            let dropped = was.iter().map(|(dot, _)| *dot).filter(|dot| left.iter().all(|(kept, _)| kept != dot)).collect();
            pushed.push((path, payload, dropped));
        }
        if pushed.is_empty() {
            return None;
        }
        let gained = |(id, seq): &(ReplicaId, u64)| after.told.as_ref().is_none_or(|told| *seq > told.get(*id));
        let needs = after.version.iter().filter(gained).collect();
        after.version.advance(me, last);
        after.told = Some(after.version.clone());
        Some(NaivePushed { origin: me, first: start + 1, last, needs, rows: pushed })
    }
}

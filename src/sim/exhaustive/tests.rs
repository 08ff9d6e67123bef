use super::*;
use crate::sim::ScopeId;
use crate::sim::{Cell, Defect, Kind, Naive, StoreSubject};

const ONE: CellId = CellId(0);
const TWO: CellId = CellId(1);

fn one(kind: Kind) -> Schema {
    Schema::new().cell(&["one"], &[], kind)
}

/// Schedules of so many replicas, so many steps and these transactions.
fn bounds(schema: Schema, replicas: usize, steps: usize, transactions: &[&[Op]]) -> Exhaustive {
    let bounds = Exhaustive::new(&Arc::new(schema), replicas, steps).threads(2);
    transactions.iter().fold(bounds, |bounds, ops| bounds.transaction(ops.iter().cloned()))
}

fn explore(bounds: Exhaustive) {
    let schema = Arc::clone(&bounds.schema);
    let explored = bounds.run_cloned(|replica| Naive::new(replica, &schema)).unwrap();
    let of_the_store = bounds.run_cloned(|replica| StoreSubject::in_memory(replica, &schema)).unwrap();
    assert_eq!(of_the_store, explored);
    let Explored { schedules, steps } = explored;
    let cells = schema.cells().iter().map(Cell::to_string).collect::<Vec<_>>().join(", ");
    println!("{} replicas x {} steps, {cells}: {schedules} schedules, {steps} steps", bounds.replicas, bounds.steps);
    assert!(schedules > 1_000, "{schedules}");
}

fn set(cell: CellId) -> Op {
    Op::Set { cell, value: 1 }
}

fn add(cell: CellId) -> Op {
    Op::Add { cell, amount: 1 }
}

fn scope(schema: &Schema, scope: &str) -> Op {
    Op::Delete(ScopeId(schema.scopes().position(|known| known.to_string() == scope).unwrap()))
}

#[test]
fn two_replicas_six_transactions_of_each_kind() {
    let insert = Op::Insert { cell: ONE, element: 0 };
    let remove = Op::Remove { cell: ONE, element: 0 };
    explore(bounds(one(Kind::Register), 2, 6, &[&[set(ONE)], &[Op::Clear(ONE)]]));
    explore(bounds(one(Kind::Register), 2, 6, &[&[set(ONE)], &[Op::Clear(ONE)]]).ids_fall());
    explore(bounds(one(Kind::Counter), 2, 6, &[&[add(ONE)], &[Op::Clear(ONE)]]));
    explore(bounds(one(Kind::Flag), 2, 6, &[&[Op::Enable(ONE)], &[Op::Disable(ONE)]]));
    explore(bounds(one(Kind::VetoFlag), 2, 6, &[&[Op::Enable(ONE)], &[Op::Disable(ONE)]]));
    explore(bounds(one(Kind::Set), 2, 6, &[&[insert], &[remove]]));
    let lattice = one(Kind::Lattice);
    let (join, delete) = (Op::Join { cell: ONE, delta: [7].into() }, scope(&lattice, "key one"));
    explore(bounds(lattice, 2, 6, &[&[join], &[delete]]));
}

#[test]
fn two_replicas_that_write_over_earlier_reads() {
    let over = Op::SetOver { cell: ONE, value: 2, read: 0 };
    explore(bounds(one(Kind::Register), 2, 5, &[&[over], &[set(ONE)]]));
}

#[test]
fn two_replicas_that_reset_and_add_at_once() {
    explore(bounds(one(Kind::Counter), 2, 5, &[&[add(ONE)], &[Op::Clear(ONE)], &[Op::Clear(ONE), add(ONE)]]));
}

#[test]
fn two_replicas_that_push_and_forget_and_restart() {
    explore(bounds(one(Kind::Counter), 2, 4, &[&[add(ONE)], &[Op::Clear(ONE)]]).pushes().truncations().restarts());
}

#[test]
fn three_replicas_four_transactions_over_two_keys() {
    let schema = Schema::new().cell(&["a", "one"], &[], Kind::Counter).cell(&["a", "two"], &[], Kind::Set);
    let insert = Op::Insert { cell: TWO, element: 0 };
    let delete = scope(&schema, "prefix a");
    explore(bounds(schema, 3, 4, &[&[add(ONE)], &[insert], &[delete]]));
}

#[test]
fn three_replicas_that_push() {
    explore(bounds(one(Kind::Counter), 3, 3, &[&[add(ONE)], &[Op::Clear(ONE)]]).pushes());
}

#[test]
fn a_run_from_the_start_explores_what_a_clone_does() {
    let bounds = bounds(one(Kind::Counter), 2, 3, &[&[add(ONE)], &[Op::Clear(ONE)]]).pushes();
    let make = |replica| Naive::new(replica, &bounds.schema);
    assert_eq!(bounds.run(make), bounds.run_cloned(make));
}

#[test]
fn each_defect_of_counters_and_pushes_shows_within_five_steps() {
    let subtract = Op::Add { cell: ONE, amount: -1 };
    for (defect, replicas, steps) in [
        (Defect::ResetsNotAddressed, 2, 3),
        (Defect::ResetDroppedUnconsumed, 2, 4),
        (Defect::NewFrameAtNetZero, 2, 5),
        (Defect::GapIgnored, 2, 2),
        (Defect::DependenciesIgnored, 3, 2),
        (Defect::DeleteWithoutDot, 1, 2),
    ] {
        let bounds =
            bounds(one(Kind::Counter), replicas, steps, &[&[add(ONE)], &[Op::Clear(ONE)], core::slice::from_ref(&subtract)])
                .pushes();
        let explored = bounds.run_cloned(|replica| Naive::new(replica, &bounds.schema).with(defect));
        println!("{defect:?}: {}", explored.expect_err("a defect that no schedule shows"));
    }
}

//! Histories that proptest draws and shrinks.

use core::fmt::Debug;
use core::mem;

use ::proptest::arbitrary::any;
use ::proptest::strategy::{NewTree, Strategy, ValueTree};
use ::proptest::test_runner::TestRunner;

use crate::laws::{Rng, Step, Trace, draw};

/// Histories of 2 to 4 replicas, as a [`Suite`](crate::laws::Suite) draws them: deltas and states late, lost, twice, joined,
/// through cut links; restarts and clones; with operations from a strategy.
///
/// They shrink by leaving out steps, in ever smaller runs, and then by shrinking the operations that are left.
pub const fn traces<S: Strategy>(ops: S) -> Traces<S> {
    Traces { ops }
}

/// What [`traces`] returns.
#[derive(Debug, Clone)]
pub struct Traces<S> {
    ops: S,
}

impl<S: Strategy<Value: Clone>> Strategy for Traces<S> {
    type Tree = TraceTree<S::Tree>;
    type Value = Trace<S::Value>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = any::<u64>().new_tree(runner)?.current();
        let drawn = draw(&mut Rng::new(seed), &|_| (), None);
        let parts = drawn.steps.into_iter().map(|(number, step)| {
            let op = matches!(step, Step::Apply { .. }).then(|| self.ops.new_tree(runner)).transpose()?;
            Ok(Part { number, step, op, is_left_out: false })
        });
        let parts: Vec<Part<S::Tree>> = parts.collect::<Result<_, ::proptest::test_runner::Reason>>()?;
        let run = parts.len();
        Ok(TraceTree { replicas: drawn.replicas, next: Next::LeaveOut { run, end: run }, parts, last: Last::Nothing })
    }
}

/// A step, and how its operation shrinks.
#[derive(Debug, Clone)]
struct Part<O> {
    number: usize,
    step: Step<()>,
    op: Option<O>,
    is_left_out: bool,
}

/// What is tried next.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// So many parts before `end`. From the end, since what comes late depends on what came before.
    LeaveOut { run: usize, end: usize },
    /// The operation of a part.
    Simplify { at: usize },
}

/// What was tried last, and can be taken back.
#[derive(Debug, Clone)]
enum Last {
    Nothing,
    LeftOut(Vec<usize>),
    Simplified(usize),
}

/// How a history shrinks.
#[derive(Debug, Clone)]
pub struct TraceTree<O> {
    replicas: usize,
    parts: Vec<Part<O>>,
    next: Next,
    last: Last,
}

impl<O: ValueTree<Value: Clone>> TraceTree<O> {
    /// Leaves out the parts of a range that are there. Returns whether any was.
    fn leave_out(&mut self, from: usize, end: usize) -> bool {
        let range = self.parts.iter_mut().enumerate().take(end).skip(from).filter(|(_, part)| !part.is_left_out);
        let left_out: Vec<usize> = range
            .map(|(at, part)| {
                part.is_left_out = true;
                at
            })
            .collect();
        let is_some = !left_out.is_empty();
        if is_some {
            self.last = Last::LeftOut(left_out);
        }
        is_some
    }

    fn simplify_op(&mut self, at: usize) -> bool {
        let part = self.parts.get_mut(at).filter(|part| !part.is_left_out);
        let is_simpler = part.and_then(|part| part.op.as_mut()).is_some_and(O::simplify);
        if is_simpler {
            self.last = Last::Simplified(at);
        }
        is_simpler
    }
}

impl<O: ValueTree<Value: Clone>> ValueTree for TraceTree<O> {
    type Value = Trace<O::Value>;

    fn current(&self) -> Trace<O::Value> {
        let parts = self.parts.iter().filter(|part| !part.is_left_out);
        let steps = parts.filter_map(|part| Some((part.number, part.step.with(part.op.as_ref().map(O::current))?)));
        Trace { replicas: self.replicas, steps: steps.collect() }
    }

    fn simplify(&mut self) -> bool {
        loop {
            match self.next {
                Next::LeaveOut { run: 0, .. } => self.next = Next::Simplify { at: 0 },
                Next::LeaveOut { run, end: 0 } => self.next = Next::LeaveOut { run: run / 2, end: self.parts.len() },
                Next::LeaveOut { run, end } => {
                    let from = end.saturating_sub(run);
                    self.next = Next::LeaveOut { run, end: from };
                    if self.leave_out(from, end) {
                        return true;
                    }
                }
                Next::Simplify { at } if at >= self.parts.len() => return false,
                Next::Simplify { at } => {
                    if self.simplify_op(at) {
                        return true;
                    }
                    self.next = Next::Simplify { at: at + 1 };
                }
            }
        }
    }

    fn complicate(&mut self) -> bool {
        match mem::replace(&mut self.last, Last::Nothing) {
            Last::Nothing => false,
            Last::LeftOut(parts) => {
                for at in parts {
                    if let Some(part) = self.parts.get_mut(at) {
                        part.is_left_out = false;
                    }
                }
                true
            }
            Last::Simplified(at) => {
                let op = self.parts.get_mut(at).and_then(|part| part.op.as_mut());
                let is_changed = op.is_some_and(O::complicate);
                if is_changed {
                    self.last = Last::Simplified(at);
                }
                is_changed
            }
        }
    }
}

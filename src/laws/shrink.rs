//! Makes a failing history short.

use alloc::format;
use alloc::vec::Vec;
use core::fmt::Debug;

use super::run::caught;
use super::slices::Broken;
use super::{Rng, Step, Suite};
use crate::crdt::Crdt;

/// So many histories are tried.
const TRIES_MAX: usize = 3_000;

type Trace<Op> = Vec<(usize, Step<Op>)>;

/// A history that breaks a law.
pub(super) struct Shrink<'a, T: Crdt> {
    pub(super) suite: &'a Suite<T>,
    pub(super) replicas: usize,
    pub(super) trace: Trace<T::Op>,
    pub(super) broken: Broken,
    pub(super) tries: usize,
}

impl<T: Crdt + Debug> Shrink<'_, T> {
    /// Leaves out steps, in ever smaller runs; then makes operations simpler; as long as the same law is broken. Then leaves out
    /// what only that law needs: a shorter history that breaks another one says more.
    pub(super) fn shortest(mut self) -> (Trace<T::Op>, Broken) {
        loop {
            let before = self.trace.len();
            let mut run = self.trace.len();
            while run > 0 {
                self.leave_out(run);
                run /= 2;
            }
            let simpler = self.simplify();
            let is_done = self.trace.len() == before && !simpler && !self.leave_out_of_any_law();
            if is_done || self.tries >= TRIES_MAX {
                return (self.trace, self.broken);
            }
        }
    }

    /// Whether a step could be left out, and then another law was broken.
    fn leave_out_of_any_law(&mut self) -> bool {
        (0..self.trace.len()).rev().any(|at| {
            let mut shorter = self.trace.clone();
            shorter.remove(at);
            self.accept(shorter, true)
        })
    }

    fn leave_out(&mut self, run: usize) {
        // From the end: what comes late depends on what came before.
        let mut at = self.trace.len();
        while let Some(from) = at.checked_sub(run) {
            let (head, tail) = (self.trace.iter().take(from), self.trace.iter().skip(at));
            let shorter = head.chain(tail).cloned().collect();
            at = if self.accept(shorter, false) { from.min(self.trace.len()) } else { at - 1 };
        }
    }

    /// Whether an operation became simpler.
    fn simplify(&mut self) -> bool {
        let mut changed = false;
        let simple: Vec<T::Op> = (0..16).map(|seed| (self.suite.ops)(&mut Rng::new(seed))).collect();
        let size = |op: &T::Op| {
            let text = format!("{op:?}");
            (text.len(), text)
        };
        for at in 0..self.trace.len() {
            for with in &simple {
                let mut simpler = self.trace.clone();
                let Some((_, Step::Apply { op, .. })) = simpler.get_mut(at) else { break };
                if size(with) < size(op) {
                    *op = with.clone();
                    changed |= self.accept(simpler, false);
                }
            }
        }
        changed
    }

    fn accept(&mut self, trace: Trace<T::Op>, any_law: bool) -> bool {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return false;
        }
        match caught(self.suite, self.replicas, &trace) {
            Err(broken) if any_law || broken.law == self.broken.law => {
                self.trace = trace;
                self.broken = broken;
                true
            }
            _ => false,
        }
    }
}

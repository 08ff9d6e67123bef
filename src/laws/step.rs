//! What happens in a history, and how histories are drawn.

use alloc::vec::Vec;
use core::fmt::{self, Debug};

use super::Rng;

/// At most so many replicas at the start of a history.
pub(super) const REPLICAS_MAX: usize = 4;
/// At most so many replicas, clones among them.
const SLOTS_MAX: usize = 6;

/// A step of a history. Replicas count from 0; messages are named by the number of the step that made them. A step that
/// names what is not there does nothing, so any step can be left out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Step<Op> {
    /// An operation. Its delta can be delivered later.
    Apply {
        /// At which replica.
        at: usize,
        /// What.
        op: Op,
    },
    /// The full state, as it is now, is sent. It can be delivered later.
    Send {
        /// By which replica.
        from: usize,
    },
    /// The full state is sent and arrives.
    Sync {
        /// From this replica.
        from: usize,
        /// At this one.
        to: usize,
    },
    /// A delta or a state arrives; perhaps not for the first time.
    Deliver {
        /// The step that made it.
        message: usize,
        /// At which replica.
        to: usize,
    },
    /// Deltas and states are joined, and arrive together.
    Group {
        /// The steps that made them.
        messages: Vec<usize>,
        /// At which replica.
        to: usize,
    },
    /// The replica goes on with a copy of its state; through bytes, if there is a codec.
    Restart {
        /// Which.
        at: usize,
    },
    /// A copy of the replica goes on as another one, under a new id.
    Clone {
        /// Which.
        of: usize,
        /// The new replica.
        to: usize,
    },
}

#[cfg(feature = "proptest")]
impl Step<()> {
    /// The same, with an operation where there is one; `None` if it is not given.
    pub(crate) fn with<Op>(&self, op: Option<Op>) -> Option<Step<Op>> {
        Some(match self {
            Self::Apply { at, op: () } => Step::Apply { at: *at, op: op? },
            Self::Send { from } => Step::Send { from: *from },
            Self::Sync { from, to } => Step::Sync { from: *from, to: *to },
            Self::Deliver { message, to } => Step::Deliver { message: *message, to: *to },
            Self::Group { messages, to } => Step::Group { messages: messages.clone(), to: *to },
            Self::Restart { at } => Step::Restart { at: *at },
            Self::Clone { of, to } => Step::Clone { of: *of, to: *to },
        })
    }
}

/// A history: steps, with the numbers by which later ones name them. Leaving out a step leaves the others as they are.
#[derive(Debug, Clone)]
pub struct Trace<Op> {
    /// How many replicas it starts with: 1 to 4.
    pub replicas: usize,
    /// Numbers and steps, ascending.
    pub steps: Vec<(usize, Step<Op>)>,
}

impl<Op: Debug> fmt::Display for Trace<Op> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|(number, step)| writeln!(f, "  {number:3}  {step}"))
    }
}

/// The name of a replica: A, B, C …
pub(super) struct Name(pub(super) usize);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = u32::try_from(self.0).ok().and_then(|at| char::from_u32(u32::from('A') + at));
        write!(f, "{}", letter.unwrap_or('?'))
    }
}

impl<Op: Debug> fmt::Display for Step<Op> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply { at, op } => write!(f, "{}: {op:?}", Name(*at)),
            Self::Send { from } => write!(f, "{}: sends its state", Name(*from)),
            Self::Sync { from, to } => write!(f, "{} -> {}: the state", Name(*from), Name(*to)),
            Self::Deliver { message, to } => write!(f, "-> {}: what step {message} made", Name(*to)),
            Self::Group { messages, to } => write!(f, "-> {}: what steps {messages:?} made, joined", Name(*to)),
            Self::Restart { at } => write!(f, "{}: restarts", Name(*at)),
            Self::Clone { of, to } => write!(f, "{}: goes on from a copy of {}, under a new id", Name(*to), Name(*of)),
        }
    }
}

/// Draws a history: its number of replicas, if it is not given, and its steps.
pub(crate) fn draw<Op>(rng: &mut Rng, ops: &dyn Fn(&mut Rng) -> Op, replicas: Option<usize>) -> Trace<Op> {
    let drawn = 2 + rng.index(REPLICAS_MAX - 1);
    let replicas = replicas.unwrap_or(drawn);
    Trace { replicas, steps: (1..).zip(Draw::new(rng, ops, replicas).draw()).collect() }
}

struct Draw<'a, Op> {
    rng: &'a mut Rng,
    ops: &'a dyn Fn(&mut Rng) -> Op,
    steps: Vec<Step<Op>>,
    /// Which step made a message, and where.
    messages: Vec<(usize, usize)>,
    slots: usize,
    /// No message goes from below this replica to it or above, nor back, while it is set.
    split: Option<usize>,
}

impl<'a, Op> Draw<'a, Op> {
    fn new(rng: &'a mut Rng, ops: &'a dyn Fn(&mut Rng) -> Op, replicas: usize) -> Self {
        Self { rng, ops, steps: Vec::new(), messages: Vec::new(), slots: replicas, split: None }
    }

    /// The steps of a whole history.
    fn draw(mut self) -> Vec<Step<Op>> {
        let count = 4 + self.rng.index(if self.rng.clone().chance(50) { 10 } else { 30 });
        // Some histories are mostly full states, some mostly deltas, some mostly operations: each finds other faults.
        let weights: [usize; 7] =
            [4 + self.rng.index(8), self.rng.index(3), self.rng.index(8), self.rng.index(12), self.rng.index(4), 1, 1];
        let total = weights.iter().sum();
        while self.steps.len() < count {
            if self.rng.chance(8) {
                self.split = if self.split.is_some() { None } else { Some(1 + self.rng.index(self.slots - 1)) };
            }
            let mut at = self.rng.index(total);
            let kind =
                weights.iter().take_while(|weight| at.checked_sub(**weight).inspect(|left| at = *left).is_some()).count();
            if let Some(step) = self.step(kind) {
                self.steps.push(step);
            }
        }
        self.steps
    }

    fn step(&mut self, kind: usize) -> Option<Step<Op>> {
        let at = self.rng.index(self.slots);
        match kind {
            0 => {
                self.messages.push((self.steps.len() + 1, at));
                Some(Step::Apply { at, op: (self.ops)(self.rng) })
            }
            1 => {
                self.messages.push((self.steps.len() + 1, at));
                Some(Step::Send { from: at })
            }
            2 => {
                let to = self.rng.index(self.slots);
                (to != at && self.connected(at, to)).then_some(Step::Sync { from: at, to })
            }
            3 => self.message(at).map(|message| Step::Deliver { message, to: at }),
            4 => {
                let messages: Vec<usize> = (0..2 + self.rng.index(3)).filter_map(|_| self.message(at)).collect();
                (!messages.is_empty()).then_some(Step::Group { messages, to: at })
            }
            5 => Some(Step::Restart { at }),
            _ if self.slots < SLOTS_MAX => {
                self.slots += 1;
                Some(Step::Clone { of: at, to: self.slots - 1 })
            }
            _ => None,
        }
    }

    /// One that may reach a replica: mostly a late one, of the last ten.
    fn message(&mut self, to: usize) -> Option<usize> {
        let recent = self.messages.len().saturating_sub(if self.rng.chance(70) { 10 } else { usize::MAX });
        let (message, from) = *self.rng.pick(self.messages.get(recent..)?)?;
        self.connected(from, to).then_some(message)
    }

    fn connected(&self, from: usize, to: usize) -> bool {
        self.split.is_none_or(|split| (from < split) == (to < split))
    }
}

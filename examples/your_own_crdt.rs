//! A CRDT of one's own, and its proof: the best score of a game, and who has it.
//!
//! ```console
//! cargo run --example your_own_crdt             # the right one: what was checked
//! cargo run --example your_own_crdt -- wrong    # a version with a bug that is easy to write: how it is found
//! ```
//!
//! A machine in each arcade keeps a board. Machines are offline for days, and then exchange boards in any order. Each game has
//! one row: the highest score; of equal scores, that of the name which sorts first. A machine can strike out a score that was
//! cheated, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use tombolo::ReplicaId;
use tombolo::crdt::{Crdt, Lattice, Refused};
use tombolo::laws::{Rng, Situation, Suite, Visible};

type Game = u8;

/// A score, and who has it. Invariant of a board: the greater one is shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Score {
    points: u32,
    name: std::cmp::Reverse<String>,
}

/// The scores of each game, and those that were struck out. `WRONG` keeps only the best score of each game, which is enough to
/// show: until it is struck out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Board<const WRONG: bool> {
    scores: BTreeMap<Game, BTreeSet<Score>>,
    struck: BTreeSet<(Game, Score)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Op {
    Play(Game, Score),
    /// Strikes out that score, whoever has seen it or has not.
    Strike(Game, Score),
}

impl<const WRONG: bool> Board<WRONG> {
    fn best(&self, game: Game) -> Option<&Score> {
        let scores = self.scores.get(&game)?;
        scores.iter().rev().find(|score| !self.struck.contains(&(game, (*score).clone())))
    }
}

impl<const WRONG: bool> Lattice for Board<WRONG> {
    fn bottom() -> Self {
        Self { scores: BTreeMap::new(), struck: BTreeSet::new() }
    }

    fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.scores.join(&other.scores);
        self.struck.join(&other.struck);
        if WRONG {
            // "Only the best one is ever shown, so why keep the others?"
            let best: Vec<(Game, Option<Score>)> = self.scores.keys().map(|game| (*game, self.best(*game).cloned())).collect();
            self.scores = best.into_iter().map(|(game, best)| (game, best.into_iter().collect())).collect();
        }
        *self != before
    }
}

impl<const WRONG: bool> Crdt for Board<WRONG> {
    type Op = Op;
    type Read = BTreeMap<Game, (u32, String)>;

    fn apply(&mut self, op: &Op, _me: ReplicaId) -> Result<Self, Refused> {
        let mut delta = Self::bottom();
        match op {
            Op::Play(game, score) => {
                delta.scores.insert(*game, BTreeSet::from([score.clone()]));
            }
            Op::Strike(game, score) => {
                delta.struck.insert((*game, score.clone()));
            }
        }
        self.join(&delta);
        Ok(delta)
    }

    fn read(&self) -> Self::Read {
        let best = self.scores.keys().filter_map(|game| Some((*game, self.best(*game)?)));
        best.map(|(game, score)| (game, (score.points, score.name.0.clone()))).collect()
    }
}

/// Few games, points and names, so that they meet.
fn op(rng: &mut Rng) -> Op {
    let game = u8::try_from(rng.below(2)).unwrap_or(0);
    let name = rng.pick(&["Ada", "Bob", "Cyd"]).map_or("Ada", |name| name).to_owned();
    let points = *rng.pick(&[0, 10, 20, u32::MAX]).unwrap_or(&0);
    let score = Score { points, name: std::cmp::Reverse(name) };
    if rng.chance(75) { Op::Play(game, score) } else { Op::Strike(game, score) }
}

/// What a board must read, said without a board: of all scores that were played and not struck out, the best of each game.
fn spec(visible: &Visible<Op>) -> BTreeMap<Game, (u32, String)> {
    let is_struck = |game: Game, score: &Score| visible.iter().any(|event| event.op == Op::Strike(game, score.clone()));
    let mut best: BTreeMap<Game, Score> = BTreeMap::new();
    for event in visible.iter() {
        if let Op::Play(game, score) = &event.op
            && !is_struck(*game, score)
            && best.get(game).is_none_or(|best| score > best)
        {
            best.insert(*game, score.clone());
        }
    }
    best.into_iter().map(|(game, score)| (game, (score.points, score.name.0))).collect()
}

/// The one call. In a test it is `.run()`, which panics with the failure.
fn prove<const WRONG: bool>() -> bool {
    match Suite::<Board<WRONG>>::new(op).spec(spec).codec().cases(1_000).check() {
        Ok(report) => {
            println!("{report}");
            // A check that never meets a situation says nothing about it. No operation of a board is refused.
            assert_eq!(report.unmet(), [Situation::Refused]);
            true
        }
        Err(failure) => {
            println!("{failure}");
            false
        }
    }
}

fn main() -> ExitCode {
    let wrong = std::env::args().nth(1).is_some_and(|argument| argument == "wrong");
    let holds = if wrong { prove::<true>() } else { prove::<false>() };
    // The wrong one is to be found.
    if holds != wrong { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Two things that take turns.

use std::time::{Duration, Instant};

/// How long an operation of each of two sides takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    /// Nanoseconds, median over rounds.
    pub(crate) ours: f64,
    pub(crate) reference: f64,
    /// The median of the rounds' own ratios: what else the machine did in a round hit both sides.
    pub(crate) ratio: f64,
}

pub(crate) fn timed(body: impl FnOnce()) -> Duration {
    let start = Instant::now();
    body();
    start.elapsed()
}

/// Lets both sides run in turns. Each is called for one batch of `operations`, and says how long that took.
pub(crate) fn take_turns(
    rounds: u32,
    operations: u32,
    mut ours: impl FnMut() -> Duration,
    mut reference: impl FnMut() -> Duration,
) -> Pair {
    let mut all = Vec::new();
    // The first rounds fill caches.
    for round in 0..rounds + rounds / 10 {
        let pair = if round % 2 == 0 {
            let first = ours();
            (first, reference())
        } else {
            let first = reference();
            (ours(), first)
        };
        all.push(pair);
    }
    let all = &all[(rounds / 10) as usize..];
    let each = |of: Duration| of.as_secs_f64() * 1e9 / f64::from(operations);
    Pair {
        ours: median(all.iter().map(|(ours, _)| each(*ours))),
        reference: median(all.iter().map(|(_, reference)| each(*reference))),
        ratio: median(all.iter().map(|(ours, reference)| ours.as_secs_f64() / reference.as_secs_f64())),
    }
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

//! Many runs, one for each seed, on several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Which seeds are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seeds {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) threads: usize,
}

impl Seeds {
    /// Seed 0 alone.
    pub(super) const ONE: Self = Self { first: 0, count: 1, threads: 1 };

    /// Runs every seed, and adds up what the runs return; or the failure of the lowest seed among those that were found, since a thread
    /// stops at its first. `run` must not panic.
    pub(super) fn run<C: Default + Send, E: Send>(
        self,
        run: impl Fn(u64) -> Result<C, E> + Sync,
        add: impl Fn(&mut C, C) + Sync,
    ) -> Result<C, E> {
        let failed = AtomicBool::new(false);
        let threads = self.threads.max(1);
        let run_lane = |lane: usize| {
            let mut sum = C::default();
            let mut numbers = (lane as u64..self.count).step_by(threads);
            while !failed.load(Ordering::Relaxed)
                && let Some(number) = numbers.next()
            {
                let done = run(self.first.wrapping_add(number)).map_err(|failure| (number, failure));
                add(&mut sum, done.inspect_err(|_failure| failed.store(true, Ordering::Relaxed))?);
            }
            Ok(sum)
        };
        let lanes: Vec<Result<C, (u64, E)>> = if threads == 1 {
            vec![run_lane(0)]
        } else {
            thread::scope(|scope| {
                let run_lane = &run_lane;
                let lanes: Vec<_> = (0..threads).map(|lane| scope.spawn(move || run_lane(lane))).collect();
                lanes.into_iter().map(|lane| lane.join().expect("a run does not panic")).collect()
            })
        };
        let mut sum = C::default();
        let mut first: Option<(u64, E)> = None;
        for lane in lanes {
            match lane {
                Ok(lane) => add(&mut sum, lane),
                Err((number, _)) if first.as_ref().is_some_and(|(first, _)| *first < number) => {}
                Err(failure) => first = Some(failure),
            }
        }
        first.map_or(Ok(sum), |(_number, failure)| Err(failure))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn every_seed_is_run_once_on_any_number_of_threads() {
        for threads in [0, 1, 2, 3, 20] {
            let seeds = Seeds { first: u64::MAX, count: 10, threads };
            let run = |seed: u64| Ok::<_, ()>(vec![seed]);
            let mut ran = seeds.run(run, |all, one| all.extend(one)).unwrap();
            ran.sort_unstable();
            assert_eq!(ran, [0, 1, 2, 3, 4, 5, 6, 7, 8, u64::MAX], "{threads} threads");
        }
    }

    #[test]
    fn a_failure_ends_every_thread_and_the_lowest_is_told() {
        for threads in [1, 2, 4] {
            let seeds = Seeds { first: 5, count: 1_000_000_000_000, threads };
            // One fails: the others would go on for ever.
            let run = |seed: u64| if seed == 8 { Err(seed) } else { Ok(()) };
            assert_eq!(seeds.run(run, |(), ()| ()), Err(8), "{threads} threads");
            // All fail, none before another one has begun.
            let begun = Barrier::new(threads);
            let fail = |seed: u64| {
                begun.wait();
                Err::<(), _>(seed)
            };
            assert_eq!(seeds.run(fail, |(), ()| ()), Err(5), "{threads} threads");
        }
    }
}

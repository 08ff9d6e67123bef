//! From a scenario that fails to a small one that fails.

use super::cluster::ClusterFailure;
use super::link::Faults;
use super::scenario::{Deed, Scenario, ScenarioLink, ScenarioSettings};

/// How many scenarios are tried: some ten milliseconds each.
const TRIES: u32 = 600;

/// The smallest scenario that was found to fail. `fails` runs one.
///
/// Steps are left out in ever smaller groups (Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002), then
/// stores, links, and whatever is unusual in what is left.
pub(super) fn smallest(
    failure: Box<ClusterFailure>,
    fails: impl Fn(&Scenario) -> Option<Box<ClusterFailure>>,
) -> Box<ClusterFailure> {
    if failure.scenario.fault().is_some() {
        return failure;
    }
    let mut search = Search { smallest: failure, tries: TRIES, fails };
    loop {
        let before = search.smallest.scenario.clone();
        search.without_steps();
        search.without_stores();
        search.without_links();
        search.without_what_is_unusual();
        if search.tries == 0 || search.smallest.scenario == before {
            return search.smallest;
        }
    }
}

struct Search<F> {
    smallest: Box<ClusterFailure>,
    tries: u32,
    fails: F,
}

impl<F: Fn(&Scenario) -> Option<Box<ClusterFailure>>> Search<F> {
    /// Whether it fails, too. Then it is the smallest.
    fn is_taken(&mut self, smaller: Scenario) -> bool {
        if self.tries == 0 || smaller == self.smallest.scenario {
            return false;
        }
        self.tries -= 1;
        let failed = (self.fails)(&smaller);
        failed.map(|failure| self.smallest = failure).is_some()
    }

    fn without_steps(&mut self) {
        let mut group = self.smallest.scenario.steps.len().div_ceil(2);
        while group > 0 {
            let mut from = 0;
            while from < self.smallest.scenario.steps.len() {
                let mut smaller = self.smallest.scenario.clone();
                let end = (from + group).min(smaller.steps.len());
                smaller.steps.drain(from..end);
                if !self.is_taken(smaller) {
                    from += group;
                }
            }
            group /= 2;
        }
    }

    fn without_stores(&mut self) {
        for store in (0..self.smallest.scenario.stores).rev() {
            if let Some(smaller) = without_store(&self.smallest.scenario, store) {
                self.is_taken(smaller);
            }
        }
    }

    fn without_links(&mut self) {
        for link in (0..self.smallest.scenario.links.len()).rev() {
            let mut smaller = self.smallest.scenario.clone();
            remove_link(&mut smaller, link);
            if is_connected(&smaller) {
                self.is_taken(smaller);
            }
        }
    }

    fn without_what_is_unusual(&mut self) {
        let mut smaller = self.smallest.scenario.clone();
        smaller.settings =
            ScenarioSettings { exchange_every_ms: smaller.settings.exchange_every_ms, ..ScenarioSettings::default() };
        self.is_taken(smaller);
        for link in 0..self.smallest.scenario.links.len() {
            let mut smaller = self.smallest.scenario.clone();
            if let Some(ScenarioLink { faults, .. }) = smaller.links.get_mut(link) {
                *faults = Faults::connection();
            }
            self.is_taken(smaller);
        }
        let mut smaller = self.smallest.scenario.clone();
        smaller.on_disk = false;
        self.is_taken(smaller);
        // All can be mended as soon as the last step is over.
        let mut smaller = self.smallest.scenario.clone();
        smaller.mended_us = smaller.steps.iter().map(|step| step.at_us + 1).max().unwrap_or_default();
        self.is_taken(smaller);
    }
}

/// The scenario without a store, if the others are linked without it.
fn without_store(scenario: &Scenario, store: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    for link in (0..smaller.links.len()).rev() {
        if smaller.links.get(link).is_some_and(|link| link.between.contains(&store)) {
            remove_link(&mut smaller, link);
        }
    }
    let moved = |at: &mut usize| *at -= usize::from(*at > store);
    smaller.stores -= 1;
    smaller.links.iter_mut().flat_map(|link| &mut link.between).for_each(moved);
    smaller.steps.retain_mut(|step| match &mut step.deed {
        Deed::Cut { .. } => true,
        Deed::Write { store: of, .. }
        | Deed::Restart { store: of, .. }
        | Deed::SetClock { store: of, .. }
        | Deed::Forget { store: of, .. }
        | Deed::PowerLoss { store: of, .. }
        | Deed::BackUp { store: of }
        | Deed::Restore { store: of, .. } => {
            let stays = *of != store;
            moved(of);
            stays
        }
        Deed::OpenBeside { store: of, peer, .. } => {
            let stays = *of != store && *peer != store;
            moved(of);
            moved(peer);
            stays
        }
    });
    (smaller.stores > 0 && is_connected(&smaller)).then_some(smaller)
}

fn remove_link(scenario: &mut Scenario, removed: usize) {
    scenario.links.remove(removed);
    scenario.steps.retain_mut(|step| {
        let Deed::Cut { link, .. } = &mut step.deed else { return true };
        let stays = *link != removed;
        *link -= usize::from(*link > removed);
        stays
    });
}

/// Whether each store can reach each other.
fn is_connected(scenario: &Scenario) -> bool {
    let mut reached = vec![0];
    let mut next = 0;
    while let Some(at) = reached.get(next).copied() {
        for ScenarioLink { between: [one, other], .. } in &scenario.links {
            for (from, to) in [(*one, *other), (*other, *one)] {
                if from == at && !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        next += 1;
    }
    reached.len() == scenario.stores
}

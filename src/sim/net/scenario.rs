//! A cluster and what happens to it, as data: drawn from a seed or read from a file, and run again with less in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::laws::Rng;
use crate::replication::Config;
use crate::sim::cut::REPLICAS_MAX;
use crate::sim::schema::Schema;

use super::cluster::{ClusterFailure, run};
use super::counts::NetCounts;
use super::link::Faults;

/// One run of a cluster: what there is, and what happens when. Equal scenarios, equal runs.
///
/// Written out it is TOML, which serde reads again.
///
/// ```
/// use std::sync::Arc;
/// use tombolo::sim::{Scenario, Schema};
///
/// let mut scenario = Scenario::draw(7);
/// scenario.steps.truncate(20);
/// scenario.run(&Arc::new(Schema::every_kind())).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Decides what is not said here: which frames a link loses, and what a disk has after a power loss.
    pub seed: u64,
    /// How many stores, 1 to 8.
    pub stores: usize,
    /// Whether they are on disks, which can lose power. Needs the feature `redb`.
    #[serde(default)]
    pub on_disk: bool,
    /// Of every node.
    #[serde(default)]
    pub settings: ScenarioSettings,
    /// Between two stores each.
    pub links: Vec<ScenarioLink>,
    /// What happens until all is mended, in any order.
    pub steps: Vec<ScenarioStep>,
    /// When all is mended, in microseconds. From then on ten exchange intervals must do, and two for each store beyond the second.
    pub mended_us: u64,
}

/// Intervals and limits: those of [`Config`] that a scenario sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScenarioSettings {
    /// [`Config::exchange_every`], in milliseconds.
    pub exchange_every_ms: u64,
    /// [`Config::push_window`], in milliseconds.
    pub push_window_ms: u64,
    /// [`Config::graft_after`], in milliseconds.
    pub graft_after_ms: u64,
    /// [`Config::frame_bytes`].
    pub frame_bytes: usize,
    /// [`Config::push_bytes_max`].
    pub push_bytes_max: usize,
    /// [`Config::queue_bytes`].
    pub queue_bytes: usize,
    /// [`Config::waiting_bytes`].
    pub waiting_bytes: usize,
    /// [`Config::answer_memory`].
    pub answer_memory: usize,
    /// [`Config::live_page`].
    pub live_page: usize,
}

impl Default for ScenarioSettings {
    fn default() -> Self {
        let config = Config::default();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            exchange_every_ms: ms(config.exchange_every),
            push_window_ms: ms(config.push_window),
            graft_after_ms: ms(config.graft_after),
            frame_bytes: config.frame_bytes,
            push_bytes_max: config.push_bytes_max,
            queue_bytes: config.queue_bytes,
            waiting_bytes: config.waiting_bytes,
            answer_memory: config.answer_memory,
            live_page: config.live_page,
        }
    }
}

impl ScenarioSettings {
    pub(super) fn config(&self) -> Config {
        Config {
            exchange_every: Duration::from_millis(self.exchange_every_ms),
            push_window: Duration::from_millis(self.push_window_ms),
            graft_after: Duration::from_millis(self.graft_after_ms),
            frame_bytes: self.frame_bytes,
            push_bytes_max: self.push_bytes_max,
            queue_bytes: self.queue_bytes,
            waiting_bytes: self.waiting_bytes,
            answer_memory: self.answer_memory,
            live_page: self.live_page,
            ..Config::default()
        }
    }

    /// Each by its name, in the order of the fields.
    fn fields(&self) -> [(&'static str, u64); 9] {
        let bytes = |bytes: usize| bytes as u64;
        [
            ("exchange_every_ms", self.exchange_every_ms),
            ("push_window_ms", self.push_window_ms),
            ("graft_after_ms", self.graft_after_ms),
            ("frame_bytes", bytes(self.frame_bytes)),
            ("push_bytes_max", bytes(self.push_bytes_max)),
            ("queue_bytes", bytes(self.queue_bytes)),
            ("waiting_bytes", bytes(self.waiting_bytes)),
            ("answer_memory", bytes(self.answer_memory)),
            ("live_page", bytes(self.live_page)),
        ]
    }
}

/// A link of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioLink {
    /// Which two stores.
    pub between: [usize; 2],
    /// What it does to frames.
    pub faults: Faults,
}

/// Something that happens in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioStep {
    /// When, in microseconds.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// A transaction of one to three writes, drawn from the seed.
    Write {
        /// Of which store.
        store: usize,
        /// Decides what it writes.
        seed: u64,
    },
    /// A link is cut for a while.
    Cut {
        /// Its place in the scenario.
        link: usize,
        /// From the first end to the second, and back.
        directions: [bool; 2],
        /// For how long, in microseconds.
        for_us: u64,
    },
    /// A node is stopped, its store closed and opened again.
    Restart {
        /// Which.
        store: usize,
        /// For how long, in microseconds.
        for_us: u64,
    },
    /// The clock of a store is set.
    SetClock {
        /// Which.
        store: usize,
        /// Milliseconds ahead of the others.
        ahead_ms: i64,
    },
    /// A store forgets deletes.
    Forget {
        /// Which.
        store: usize,
        /// Of each replica's events, in the order of ids: up to so many of a thousand.
        shares: Vec<u64>,
    },
    /// The power of a store's disk is cut. Nothing, if it has none.
    PowerLoss {
        /// Which.
        store: usize,
        /// In the middle of an operation of its disk, so many operations later. Otherwise at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_operations: Option<u64>,
    },
    /// What a store is kept on is copied. Nothing, if that is a disk.
    BackUp {
        /// Which.
        store: usize,
    },
    /// A store is lost, and opened as it was in its newest backup. Nothing, if it has none, or a fork could come of it: then whomever it
    /// meets could know less of what it had given away since than others.
    Restore {
        /// Which.
        store: usize,
        /// After how long its node is started, in microseconds.
        for_us: u64,
    },
    /// One more store is opened as another one was in its newest backup, while that goes on. It writes, and meets a peer. Nothing, if
    /// there is no backup, or the peer could not tell it that it is a copy.
    OpenBeside {
        /// Of which store.
        store: usize,
        /// Whom it meets.
        peer: usize,
        /// The seeds of what it writes before, as of [`Deed::Write`].
        #[serde(default)]
        writes: Vec<u64>,
    },
}

impl Scenario {
    /// The scenario of a seed: 2 to 6 stores, linked in some way, that write while links lose frames and are cut, nodes are stopped,
    /// clocks set, deletes forgotten, and, in one of ten, disks lose power; in others, stores come back as they were, or twice.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let seed = draw_seed(&mut rng);
        let settings = draw_settings(&mut rng);
        let stores = 2 + rng.index(5);
        let on_disk = cfg!(feature = "redb") && rng.chance(10);
        let links: Vec<ScenarioLink> = draw_links(stores, &mut rng)
            .into_iter()
            .map(|between| {
                let faults = if rng.chance(50) { Faults::connection() } else { Faults::datagrams() };
                // What goes another way overtakes what goes over a slow link.
                let faults = if rng.chance(25) { faults.with_latency(500_000..=3_000_000) } else { faults };
                ScenarioLink { between, faults }
            })
            .collect();
        let mended_us = 60_000_000 + rng.below(60_000_000);
        let mut steps = Vec::new();
        for _ in 0..30 + rng.index(120) {
            steps.push(ScenarioStep { at_us: rng.below(mended_us), deed: draw_write(stores, &mut rng) });
        }
        for _ in 0..rng.index(8) {
            let (at_us, link, for_us) = (rng.below(mended_us), rng.index(links.len()), draw_while(&mut rng));
            let directions = match rng.below(4) {
                0 => [true, false],
                1 => [false, true],
                _both => [true, true],
            };
            steps.push(ScenarioStep { at_us, deed: Deed::Cut { link, directions, for_us } });
            // What is written while two sides catch up crosses it.
            for _ in 0..rng.below(4) {
                steps.push(ScenarioStep { at_us: at_us + for_us + rng.below(1_000_000), deed: draw_write(stores, &mut rng) });
            }
        }
        let mut draw = |most: usize, rng: &mut Rng, deed: &dyn Fn(&mut Rng) -> Deed| {
            for _ in 0..rng.index(most) {
                steps.push(ScenarioStep { at_us: rng.below(mended_us), deed: deed(rng) });
            }
        };
        draw(4, &mut rng, &|rng| Deed::Restart { store: rng.index(stores), for_us: draw_while(rng) });
        draw(4, &mut rng, &|rng| {
            let ahead_ms = i64::try_from(rng.below(10_000)).unwrap_or_default() - 5_000;
            Deed::SetClock { store: rng.index(stores), ahead_ms }
        });
        draw(20, &mut rng, &|rng| {
            let shares = (0..REPLICAS_MAX).map(|_| rng.below(1_001)).collect();
            Deed::Forget { store: rng.index(stores), shares }
        });
        if on_disk {
            draw(6, &mut rng, &|rng| {
                let after_operations = rng.chance(70).then(|| 1 + rng.below(60));
                Deed::PowerLoss { store: rng.index(stores), after_operations }
            });
        }
        if !on_disk && rng.chance(30) {
            draw_backups(stores, mended_us, &mut rng, &mut steps);
        }
        steps.sort_by_key(|step| step.at_us);
        Self { seed, stores, on_disk, settings, links, steps, mended_us }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What is not as it must be, with the smallest scenario that was found to fail; or the scenario names a store or a link that it
    /// does not have.
    ///
    /// # Panics
    /// The schema has no cell.
    pub fn run(&self, schema: &Arc<Schema>) -> Result<NetCounts, Box<ClusterFailure>> {
        run(schema, self)
    }

    /// Why it cannot be run.
    pub(super) fn fault(&self) -> Option<String> {
        let is_store = |store: &usize| *store < self.stores;
        if !(1..=REPLICAS_MAX).contains(&self.stores) {
            return Some(format!("a scenario has 1 to {REPLICAS_MAX} stores"));
        }
        if self.on_disk && !cfg!(feature = "redb") {
            return Some(String::from("stores on disks need the feature `redb`"));
        }
        for link in &self.links {
            if !link.between.iter().all(is_store) || link.between[0] == link.between[1] {
                return Some(format!("a link between {:?}, of {} stores", link.between, self.stores));
            }
        }
        let is_there = |deed: &Deed| match deed {
            Deed::Cut { link, .. } => *link < self.links.len(),
            Deed::Write { store, .. }
            | Deed::Restart { store, .. }
            | Deed::SetClock { store, .. }
            | Deed::Forget { store, .. }
            | Deed::PowerLoss { store, .. }
            | Deed::BackUp { store }
            | Deed::Restore { store, .. } => is_store(store),
            Deed::OpenBeside { store, peer, .. } => is_store(store) && is_store(peer),
        };
        let step = self.steps.iter().find(|step| !is_there(&step.deed))?;
        Some(format!("a step with a store or a link that is not there: {step:?}"))
    }
}

fn draw_write(stores: usize, rng: &mut Rng) -> Deed {
    Deed::Write { store: rng.index(stores), seed: draw_seed(rng) }
}

/// Backups, and what is opened from them.
fn draw_backups(stores: usize, mended_us: u64, rng: &mut Rng, steps: &mut Vec<ScenarioStep>) {
    for _ in 0..1 + rng.index(3) {
        let store = rng.index(stores);
        let at_us = rng.below(mended_us);
        steps.push(ScenarioStep { at_us, deed: Deed::BackUp { store } });
        let at_us = at_us + rng.below(mended_us - at_us);
        if rng.chance(30) {
            let writes = (0..rng.index(5)).map(|_| draw_seed(rng)).collect();
            steps.push(ScenarioStep { at_us, deed: Deed::OpenBeside { store, peer: rng.index(stores), writes } });
            continue;
        }
        let for_us = draw_while(rng);
        steps.push(ScenarioStep { at_us, deed: Deed::Restore { store, for_us } });
        // What it writes before it meets anybody is not given away; what it writes then may be.
        for _ in 0..rng.below(10) {
            let deed = Deed::Write { store, seed: draw_seed(rng) };
            steps.push(ScenarioStep { at_us: at_us + rng.below(for_us + 3_000_000), deed });
        }
    }
}

/// A TOML number has 63 bits.
fn draw_seed(rng: &mut Rng) -> u64 {
    rng.next_u64() >> 1
}

fn draw_while(rng: &mut Rng) -> u64 {
    1_000_000 + rng.below(15_000_000)
}

/// Intervals and limits, now and then so small that what they are for happens.
fn draw_settings(rng: &mut Rng) -> ScenarioSettings {
    let usual = ScenarioSettings::default();
    let mut small = |small: usize, usual: usize, percent: u64| if rng.chance(percent) { small } else { usual };
    let (push_bytes_max, queue_bytes) = (small(200, usual.push_bytes_max, 20), small(1_000, usual.queue_bytes, 20));
    let (waiting_bytes, answer_memory) = (small(1_000, usual.waiting_bytes, 20), small(0, usual.answer_memory, 50));
    let live_page = small(0, usual.live_page, 80);
    ScenarioSettings {
        exchange_every_ms: 1_000 + rng.below(9_000),
        push_window_ms: if rng.chance(50) { 0 } else { rng.below(200) },
        graft_after_ms: 100 + rng.below(900),
        frame_bytes: *rng.pick(&[100, 400, 64 << 10]).expect("not empty"),
        push_bytes_max,
        queue_bytes,
        waiting_bytes,
        answer_memory,
        live_page,
    }
}

/// A line, a ring, a star, or all with all.
fn draw_links(count: usize, rng: &mut Rng) -> Vec<[usize; 2]> {
    let line = (1..count).map(|node| [node - 1, node]);
    match rng.below(4) {
        0 => line.collect(),
        1 if count > 2 => line.chain([[count - 1, 0]]).collect(),
        2 => (1..count).map(|node| [0, node]).collect(),
        _ => (0..count).flat_map(|one| (one + 1..count).map(move |other| [one, other])).collect(),
    }
}

/// TOML.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, stores, on_disk, settings, links, steps, mended_us } = self;
        writeln!(f, "seed = {seed}\nstores = {stores}\non_disk = {on_disk}\nmended_us = {mended_us}")?;
        let usual = ScenarioSettings::default();
        let unusual: Vec<String> = settings
            .fields()
            .iter()
            .zip(usual.fields())
            .filter(|(is, usual)| **is != *usual)
            .map(|((name, value), _usual)| format!("{name} = {value}"))
            .collect();
        writeln!(f, "settings = {{ {} }}\nlinks = [", unusual.join(", "))?;
        for ScenarioLink { between: [one, other], faults } in links {
            let Faults { latency, loss, repeats, is_ordered, bandwidth, window } = faults;
            let (start, end) = (latency.start(), latency.end());
            write!(
                f,
                "  {{ between = [{one}, {other}], faults = {{ latency = {{ start = {start}, end = {end} }}, loss = {loss}, "
            )?;
            writeln!(f, "repeats = {repeats}, is_ordered = {is_ordered}, bandwidth = {bandwidth}, window = {window} }} }},")?;
        }
        writeln!(f, "]\nsteps = [")?;
        for ScenarioStep { at_us, deed } in steps {
            writeln!(f, "  {{ at_us = {at_us}, {deed} }},")?;
        }
        writeln!(f, "]")
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { store, seed } => write!(f, "write = {{ store = {store}, seed = {seed} }}"),
            Self::Cut { link, directions, for_us } => {
                write!(f, "cut = {{ link = {link}, directions = {directions:?}, for_us = {for_us} }}")
            }
            Self::Restart { store, for_us } => write!(f, "restart = {{ store = {store}, for_us = {for_us} }}"),
            Self::SetClock { store, ahead_ms } => write!(f, "set_clock = {{ store = {store}, ahead_ms = {ahead_ms} }}"),
            Self::Forget { store, shares } => write!(f, "forget = {{ store = {store}, shares = {shares:?} }}"),
            Self::PowerLoss { store, after_operations: Some(after) } => {
                write!(f, "power_loss = {{ store = {store}, after_operations = {after} }}")
            }
            Self::PowerLoss { store, after_operations: None } => write!(f, "power_loss = {{ store = {store} }}"),
            Self::BackUp { store } => write!(f, "back_up = {{ store = {store} }}"),
            Self::Restore { store, for_us } => write!(f, "restore = {{ store = {store}, for_us = {for_us} }}"),
            Self::OpenBeside { store, peer, writes } => {
                write!(f, "open_beside = {{ store = {store}, peer = {peer}, writes = {writes:?} }}")
            }
        }
    }
}

//! One cluster: what happens in it is drawn from a seed, and each replica is checked after everything that it handles.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use crate::causal::{ReplicaId, VersionVector};
use crate::laws::Rng;
use crate::replication::{Config, Event, Fault};
use crate::sim::op::{Generator, Op};
use crate::sim::oracle::{Oracle, REPLICAS_MAX};
use crate::sim::plan::EPOCH_MS;
use crate::sim::schema::Schema;
use crate::sim::subject::{Observed, Subject};

use super::cluster::ClusterFailure;
use super::counts::NetCounts;
use super::link::Faults;
use super::network::{Happened, Network};
use super::place::Place;

/// How many lines of what happened are kept.
const TRACE_MAX: usize = 80;

/// The number of what is planned when the power of the first replica is back; that of the others is below.
const START: u64 = u64::MAX;

pub(super) type Checked = Result<(), String>;

pub(super) struct World {
    schema: Arc<Schema>,
    pub(super) network: Network,
    oracle: Oracle,
    places: Vec<Place>,
    rng: Rng,
    trace: VecDeque<String>,
    exchange_every: u64,
    /// The longest time that a frame takes.
    slowest: u64,
    counts: NetCounts,
}

/// What is planned for a moment.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Write,
    Cut,
    Heal(usize),
    Restart,
    Start(usize),
    Skew,
    Truncate,
    Crash,
}

impl World {
    pub(super) fn new(schema: &Arc<Schema>, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let config = draw_config(&mut rng);
        let exchange_every = u64::try_from(config.exchange_every.as_micros()).unwrap_or(u64::MAX);
        let mut network = Network::new(config, rng.next_u64());
        let count = 2 + rng.index(5);
        let ids: Vec<ReplicaId> = (0..count).map(|_| ReplicaId::from_u128(u128::from(rng.next_u64()))).collect();
        let has_disks = rng.chance(10);
        let mut places = Vec::new();
        for id in &ids {
            let mut place = new_place(*id, schema, has_disks);
            place.subject.set_clock(EPOCH_MS);
            network.add(place.subject.store());
            places.push(place);
        }
        let mut slowest = 0;
        for [one, other] in draw_links(count, &mut rng) {
            let faults = if rng.chance(50) { Faults::connection() } else { Faults::datagrams() };
            // What goes another way overtakes what goes over a slow link.
            let faults = if rng.chance(25) { faults.with_latency(500_000..=3_000_000) } else { faults };
            slowest = slowest.max(*faults.latency.end());
            network.link(one, other, faults);
        }
        let oracle = Oracle::new(Arc::clone(schema), &ids);
        let (schema, trace, counts) = (Arc::clone(schema), VecDeque::new(), NetCounts::default());
        Self { schema, network, oracle, places, rng, trace, exchange_every, slowest, counts }
    }

    pub(super) fn counts(&self) -> NetCounts {
        let mut counts = *self.network.counts();
        counts += self.counts;
        counts
    }

    pub(super) fn failure(&self, seed: u64, what: String) -> Box<ClusterFailure> {
        let trace = self.trace.iter().cloned().collect();
        Box::new(ClusterFailure { seed, at: self.network.now(), what, trace })
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.trace.len() == TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>12.6}  {what}", self.network.now() as f64 / 1e6));
    }

    pub(super) fn run(&mut self) -> Checked {
        let mut plans = Vec::new();
        let end = 60_000_000 + self.rng.below(60_000_000);
        let writes = 30 + self.rng.index(120);
        let mut draw = |network: &mut Network, rng: &mut Rng, count: usize, plan: Plan| {
            for _ in 0..count {
                network.plan_at(rng.below(end), plans.len() as u64);
                plans.push(plan);
            }
        };
        let (network, rng) = (&mut self.network, &mut self.rng);
        draw(network, rng, writes, Plan::Write);
        let cuts = rng.index(8);
        draw(network, rng, cuts, Plan::Cut);
        let restarts = rng.index(4);
        draw(network, rng, restarts, Plan::Restart);
        let skews = rng.index(4);
        draw(network, rng, skews, Plan::Skew);
        let truncations = rng.index(12);
        draw(network, rng, truncations, Plan::Truncate);
        let crashes = rng.index(6);
        draw(network, rng, crashes, Plan::Crash);

        let schema = Arc::clone(&self.schema);
        let generator = Generator::new(&schema, &mut self.rng);
        while self.network.now() < end
            && let Some(happened) = self.network.advance()
        {
            match happened {
                Happened::At(node) => self.check(node)?,
                Happened::Planned(number) if number > START - REPLICAS_MAX as u64 => self.start_again(number),
                Happened::Planned(number) => {
                    let plan = usize::try_from(number).ok().and_then(|number| plans.get(number)).copied();
                    if let Some(plan) = plan {
                        self.carry_out(plan, &generator, &mut plans)?;
                    }
                }
                Happened::Unseen => {}
            }
            self.hear_events()?;
        }
        self.come_to_rest()
    }

    fn carry_out(&mut self, plan: Plan, generator: &Generator<'_>, plans: &mut Vec<Plan>) -> Checked {
        let later = self.network.now() + 1_000_000 + self.rng.below(15_000_000);
        let mut next = |network: &mut Network, plan: Plan| {
            network.plan_at(later, plans.len() as u64);
            plans.push(plan);
        };
        let node = self.rng.index(self.places.len());
        match plan {
            Plan::Write => return self.write(node, generator),
            Plan::Cut => {
                let link = self.rng.index(self.network.links());
                let directions =
                    *self.rng.pick(&[[true, true], [true, true], [true, false], [false, true]]).expect("not empty");
                self.network.cut(link, directions);
                next(&mut self.network, Plan::Heal(link));
                let [one, other] = self.network.ends(link);
                self.note(format_args!("cut link {link} between {one} and {other}, {directions:?}"));
            }
            Plan::Heal(link) => {
                self.network.heal(link);
                self.note(format_args!("mend link {link}"));
                // What is written while two sides catch up crosses it.
                for _ in 0..self.rng.below(4) {
                    let at = self.network.now() + self.rng.below(1_000_000);
                    self.network.plan_at(at, plans.len() as u64);
                    plans.push(Plan::Write);
                }
            }
            Plan::Restart if self.places.get(node).is_some_and(|place| place.is_running) => {
                self.network.stop(node);
                self.counts.restarts += 1;
                self.note(format_args!("stop {node}"));
                next(&mut self.network, Plan::Start(node));
                let Some(place) = self.places.get_mut(node) else { return Ok(()) };
                place.is_running = false;
                match place.subject.restart() {
                    Err(_) if place.has_lost_power() => return self.power_is_gone(node),
                    opened => opened.map_err(|fault| format!("replica {node} does not open again: {fault}"))?,
                }
            }
            Plan::Restart => {}
            Plan::Crash => return self.crash(node),
            Plan::Start(node) => self.start(node),
            Plan::Skew => {
                let skew_ms = i64::try_from(self.rng.below(10_000)).unwrap_or_default() - 5_000;
                self.counts.skews += 1;
                self.note(format_args!("set the clock of {node} by {skew_ms} ms"));
                if let Some(place) = self.places.get_mut(node) {
                    place.skew_ms = skew_ms;
                }
            }
            Plan::Truncate => {
                self.counts.truncations += 1;
                let shares: Vec<u64> = (0..8).map(|_| self.rng.below(1_001)).collect();
                self.note(format_args!("forget deletes at {node}"));
                let Some(place) = self.places.get_mut(node) else { return Ok(()) };
                let shares = move |version: VersionVector| {
                    version.iter().zip(shares).map(|((id, seq), share)| (id, seq * share / 1_000)).collect()
                };
                let truncated = place.subject.version().map(shares).and_then(|below| place.subject.truncate(&below));
                match truncated {
                    Err(_) if place.has_lost_power() => return self.power_is_gone(node),
                    truncated => truncated.map_err(|fault| format!("replica {node} does not forget: {fault}"))?,
                }
                self.network.committed(node);
                return self.check(node);
            }
        }
        Ok(())
    }

    /// The power of a replica is back.
    fn start_again(&mut self, number: u64) {
        if let Ok(node) = usize::try_from(START - number)
            && node < self.places.len()
        {
            self.start(node);
        }
    }

    fn start(&mut self, node: usize) {
        if self.places.get(node).is_some_and(|place| place.is_running) {
            return;
        }
        self.note(format_args!("start {node}"));
        if let Some(place) = self.places.get_mut(node) {
            place.is_running = true;
            self.network.start(node, place.subject.store());
        }
    }

    fn set_clock(&mut self, node: usize) {
        let now_ms = EPOCH_MS + self.network.now() / 1_000;
        if let Some(place) = self.places.get_mut(node) {
            place.subject.set_clock(now_ms.saturating_add_signed(place.skew_ms));
        }
    }

    fn write(&mut self, node: usize, generator: &Generator<'_>) -> Checked {
        let ops: Vec<Op> = (0..1 + self.rng.index(3)).map(|_| generator.op(&[], &mut self.rng)).collect();
        self.set_clock(node);
        let text: Vec<String> = ops.iter().map(|op| op.display(&self.schema).to_string()).collect();
        self.note(format_args!("{node}: {}", text.join(", ")));
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        if let Err(fault) = place.subject.commit(&ops, &[]) {
            if !place.has_lost_power() {
                return Err(format!("replica {node} does not write: {fault}"));
            }
            place.unsure = Some(ops);
            return self.power_is_gone(node);
        }
        self.record(node, &ops)?;
        self.check(node)?;
        self.network.committed(node);
        self.check(node)
    }

    /// Tells the oracle of a transaction that a replica has made.
    fn record(&mut self, node: usize, ops: &[Op]) -> Checked {
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        let (saw, id) = (place.cut, place.subject.replica());
        let last = place.subject.version().map_err(|fault| fault.to_string())?.get(id);
        if last > self.oracle.version(&saw).get(id) {
            let at = self.oracle.record(node, &saw, last, ops, &[]);
            // The stamp is what its own writes read as. Where they differ, the check of the cells says so.
            let written = self.oracle.registers_written(at).next();
            if let Some(cell) = written
                && let Ok(Observed::Register(siblings)) = place.subject.read(cell)
                && let Some(stamp) = siblings.iter().filter(|sibling| sibling.writer == id).map(|sibling| sibling.stamp).max()
            {
                self.oracle.stamp(at, stamp);
            }
        }
        Ok(())
    }

    /// Cuts the power of a replica that has a disk: now, or in the middle of something that its disk does later.
    fn crash(&mut self, node: usize) -> Checked {
        let after = self.rng.chance(70).then(|| 1 + self.rng.below(60));
        let is_running = self.places.get(node).is_some_and(|place| place.is_running);
        if !is_running || !self.places.get(node).is_some_and(|place| place.cut_power(after)) {
            return Ok(());
        }
        self.note(format_args!("cut the power of {node}, after {after:?} operations of its disk"));
        if after.is_none() { self.power_is_gone(node) } else { Ok(()) }
    }

    /// A replica is without power: it stops, and its disk has what is left. What it had acknowledged must be there.
    fn power_is_gone(&mut self, node: usize) -> Checked {
        self.network.stop(node);
        self.counts.crashes += 1;
        self.note(format_args!("{node} has lost power"));
        let seed = self.rng.next_u64();
        self.network.plan_at(self.network.now() + 1_000_000 + self.rng.below(10_000_000), START - node as u64);
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        place.is_running = false;
        place.power_up(seed).map_err(|fault| format!("replica {node} does not open after a power loss: {fault}"))?;
        if let Some(ops) = place.unsure.take() {
            // What failed may be in.
            self.record(node, &ops)?;
        }
        self.check(node)
    }

    /// What a replica has must be whole transactions, no fewer than before, and each cell must read what they make.
    fn check(&mut self, node: usize) -> Checked {
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        let version = match place.subject.version() {
            Ok(version) => version,
            Err(_) if place.has_lost_power() => return self.power_is_gone(node),
            Err(fault) => return Err(format!("replica {node}: {fault}")),
        };
        if version == place.version {
            return Ok(());
        }
        let Some(cut) = self.oracle.cut_at(&version) else {
            return Err(format!("replica {node} has a part of a transaction: {version:?}"));
        };
        if !cut.covers(&place.cut) {
            return Err(format!("replica {node} has lost what it had: {version:?} after {:?}", place.version));
        }
        (place.cut, place.version) = (cut, version);
        for cell in self.schema.cell_ids() {
            let observed = place.subject.read(cell).map_err(|fault| format!("replica {node}: {fault}"))?;
            let expected = self.oracle.read(cell, &cut);
            if observed != expected {
                let cell = self.schema.at(cell);
                return Err(format!("replica {node}, {cell}: expected {expected:?}, observed {observed:?}"));
            }
        }
        Ok(())
    }

    fn hear_events(&mut self) -> Checked {
        for (node, event) in self.network.take_events() {
            match event {
                Event::Met { .. } | Event::InStep { .. } | Event::Left { .. } => {}
                // Its power went, and that was seen before this was heard.
                Event::Trouble { fault: Fault::Failed(_), .. }
                    if self.places.get(node).is_some_and(|place| !place.is_running) => {}
                Event::Trouble { fault: Fault::Failed(_), .. } if self.places.get(node).is_some_and(Place::has_lost_power) => {
                    self.power_is_gone(node)?;
                }
                event @ (Event::Diverged { .. } | Event::CutOff { .. } | Event::Trouble { .. }) => {
                    return Err(format!("node {node} says {event:?}"));
                }
            }
        }
        Ok(())
    }

    /// Mends everything, and waits until all are the same.
    fn come_to_rest(&mut self) -> Checked {
        for link in 0..self.network.links() {
            self.network.heal(link);
        }
        for node in 0..self.places.len() {
            if self.places.get(node).is_some_and(|place| !place.is_running) {
                self.start(node);
            }
        }
        self.note(format_args!("everything is mended"));
        // Those who are not linked directly need a few rounds, and broken links are seen after a while.
        let end = self.network.now() + 10_000_000 + 10 * (self.exchange_every + self.slowest);
        while !self.all_are_same() {
            if self.network.now() > end {
                return Err(self.how_they_stand());
            }
            match self.network.advance() {
                Some(Happened::At(node)) => self.check(node)?,
                Some(Happened::Planned(number)) => self.start_again(number),
                Some(Happened::Unseen) => {}
                None => return Err(String::from("nothing happens any more, and they are not the same")),
            }
            self.hear_events()?;
        }
        let mut first: Option<Vec<u8>> = None;
        for (node, place) in self.places.iter().enumerate() {
            place.subject.check().map_err(|fault| format!("replica {node}: {fault}"))?;
            let canonical = place.subject.canonical().map_err(|fault| format!("replica {node}: {fault}"))?;
            if *first.get_or_insert_with(|| canonical.clone()) != canonical {
                return Err(format!("replica {node} has other canonical bytes than the first one"));
            }
        }
        Ok(())
    }

    fn how_they_stand(&self) -> String {
        let mut text = String::from("they do not come together:");
        for (node, place) in self.places.iter().enumerate() {
            let _ = write!(text, "\n  {node} has {:?}", place.cut);
            for status in self.network.status(node) {
                let _ = write!(text, "\n    {status:?}");
            }
        }
        text
    }

    fn all_are_same(&self) -> bool {
        self.places.iter().all(|place| self.places.first().is_some_and(|first| first.cut == place.cut))
    }
}

fn new_place(id: ReplicaId, schema: &Arc<Schema>, has_disk: bool) -> Place {
    #[cfg(feature = "redb")]
    if has_disk {
        return Place::on_disk(id, schema);
    }
    let _in_memory = has_disk;
    Place::in_memory(id, schema)
}

/// Intervals and limits, now and then so small that what they are for happens.
fn draw_config(rng: &mut Rng) -> Config {
    let mut small = |small: usize, usual: usize, percent: u64| if rng.chance(percent) { small } else { usual };
    let usual = Config::default();
    let (push_bytes_max, queue_bytes) = (small(200, usual.push_bytes_max, 20), small(1_000, usual.queue_bytes, 20));
    let live_page = small(1, usual.live_page, 60);
    let (waiting_bytes, answer_memory) = (small(1_000, usual.waiting_bytes, 20), small(0, usual.answer_memory, 50));
    Config {
        exchange_every: Duration::from_millis(1_000 + rng.below(9_000)),
        push_window: Duration::from_millis(if rng.chance(50) { 0 } else { rng.below(200) }),
        graft_after: Duration::from_millis(100 + rng.below(900)),
        frame_bytes: *rng.pick(&[100, 400, 64 << 10]).expect("not empty"),
        push_bytes_max,
        queue_bytes,
        waiting_bytes,
        answer_memory,
        live_page,
        ..usual
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

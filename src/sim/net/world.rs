//! One cluster: what its scenario says happens, and each replica is checked after everything that it handles.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::causal::{ReplicaId, VersionVector};
use crate::laws::Rng;
use crate::replication::{Event, Fault};
use crate::sim::cut::REPLICAS_MAX;
use crate::sim::op::{Generator, Op};
use crate::sim::oracle::Oracle;
use crate::sim::plan::EPOCH_MS;
use crate::sim::schema::Schema;
use crate::sim::subject::{Observed, Subject};
use crate::storage::Memory;

use super::counts::NetCounts;
use super::histories::Histories;
use super::network::{Happened, Network};
use super::place::Place;
use super::scenario::{Deed, Scenario};

/// How many lines of what happened are kept.
const TRACE_MAX: usize = 80;

/// The number of what is planned when the power of the first replica is back; that of the others is below.
const START: u64 = u64::MAX;

pub(super) type Checked<T = ()> = Result<T, String>;

pub(super) struct World<'a> {
    schema: Arc<Schema>,
    scenario: &'a Scenario,
    pub(super) network: Network,
    pub(super) oracle: Oracle,
    pub(super) histories: Histories,
    pub(super) places: Vec<Place>,
    /// Ids that two stores have had at once.
    pub(super) cloned: BTreeSet<ReplicaId>,
    /// What a power loss leaves, and how long it lasts.
    rng: Rng,
    plans: Vec<Plan>,
    trace: VecDeque<String>,
    pub(super) counts: NetCounts,
}

/// What is planned for a moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    Step(usize),
    Heal(usize),
    Start(usize),
}

impl<'a> World<'a> {
    /// Of a scenario without a [`fault`](Scenario::fault).
    pub(super) fn new(schema: &Arc<Schema>, scenario: &'a Scenario) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let network = Network::new(scenario.settings.config(), rng.next_u64());
        let ids: Vec<ReplicaId> = (0..scenario.stores).map(|_| ReplicaId::from_u128(u128::from(rng.next_u64()))).collect();
        let (oracle, histories) = (Oracle::new(Arc::clone(schema), &ids), Histories::default());
        let (schema, plans, trace, counts) = (Arc::clone(schema), Vec::new(), VecDeque::new(), NetCounts::default());
        let mut world = Self {
            schema,
            scenario,
            network,
            oracle,
            histories,
            places: Vec::new(),
            cloned: BTreeSet::new(),
            rng,
            plans,
            trace,
            counts,
        };
        for (lane, id) in ids.into_iter().enumerate() {
            let mut place = world.new_place(id, lane, Memory::default()).expect("what is empty opens");
            place.is_running = true;
            world.network.add(place.subject.store());
            world.places.push(place);
        }
        for link in &scenario.links {
            world.network.link(link.between[0], link.between[1], link.faults.clone());
        }
        for (number, step) in scenario.steps.iter().enumerate() {
            world.plan_at(step.at_us, Plan::Step(number));
        }
        world
    }

    fn plan_at(&mut self, at: u64, plan: Plan) {
        self.network.plan_at(at, self.plans.len() as u64);
        self.plans.push(plan);
    }

    pub(super) fn plan_after(&mut self, after: u64, plan: Plan) {
        self.plan_at(self.network.now().saturating_add(after), plan);
    }

    pub(super) fn counts(&self) -> NetCounts {
        let mut counts = *self.network.counts();
        counts += self.counts;
        counts
    }

    /// A store of the scenario, in a lane of the oracle: on a disk, or in this memory.
    pub(super) fn new_place(&self, id: ReplicaId, lane: usize, memory: Memory) -> Checked<Place> {
        let (schema, seed) = (&self.schema, self.scenario.seed.wrapping_mul(31).wrapping_add(lane as u64) << 8);
        let place = match () {
            #[cfg(feature = "redb")]
            () if self.scenario.on_disk => Place::on_disk(id, schema, lane),
            () => Place::in_memory(id, schema, lane, memory, seed),
        };
        let mut place = place.map_err(say)?;
        place.subject.set_clock(EPOCH_MS);
        Ok(place)
    }

    /// What happened last.
    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.iter().cloned().collect()
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.trace.len() == TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>12.6}  {what}", self.network.now() as f64 / 1e6));
    }

    pub(super) fn run(&mut self) -> Checked {
        while self.network.now() < self.scenario.mended_us
            && let Some(happened) = self.network.advance()
        {
            self.happened(happened)?;
        }
        self.come_to_rest()
    }

    fn happened(&mut self, happened: Happened) -> Checked {
        match happened {
            Happened::At(node) => self.check(node)?,
            Happened::Planned(number) if number > START - REPLICAS_MAX as u64 => self.start_again(number),
            Happened::Planned(number) => {
                let plan = usize::try_from(number).ok().and_then(|number| self.plans.get(number)).copied();
                match plan {
                    Some(Plan::Step(step)) => {
                        let scenario = self.scenario;
                        if let Some(step) = scenario.steps.get(step) {
                            self.carry_out(&step.deed)?;
                        }
                    }
                    Some(Plan::Heal(link)) => {
                        self.network.heal(link);
                        self.note(format_args!("mend link {link}"));
                    }
                    Some(Plan::Start(node)) => self.start(node),
                    None => {}
                }
            }
            Happened::Unseen => {}
        }
        self.hear_events()
    }

    fn carry_out(&mut self, deed: &Deed) -> Checked {
        match deed {
            Deed::Write { store, seed } => return self.write(*store, *seed),
            Deed::Cut { link, directions, for_us } => {
                self.network.cut(*link, *directions);
                let [one, other] = self.network.ends(*link);
                self.note(format_args!("cut link {link} between {one} and {other}, {directions:?}"));
                self.plan_after(*for_us, Plan::Heal(*link));
            }
            Deed::Restart { store, for_us } => return self.restart(*store, *for_us),
            Deed::PowerLoss { store, after_operations } => return self.crash(*store, *after_operations),
            Deed::SetClock { store, ahead_ms } => {
                self.counts.skews += 1;
                self.note(format_args!("set the clock of {store} by {ahead_ms} ms"));
                if let Some(place) = self.places.get_mut(*store) {
                    place.skew_ms = *ahead_ms;
                }
            }
            Deed::Forget { store, shares } => return self.forget(*store, shares),
            Deed::BackUp { store } => return self.back_up(*store),
            Deed::Restore { store, for_us } => return self.restore(*store, *for_us),
            Deed::OpenBeside { store, peer, writes } => return self.open_beside(*store, *peer, writes),
        }
        Ok(())
    }

    fn restart(&mut self, node: usize, for_us: u64) -> Checked {
        if !self.places.get(node).is_some_and(|place| place.is_running) {
            return Ok(());
        }
        self.network.stop(node);
        self.counts.restarts += 1;
        self.note(format_args!("stop {node}"));
        self.plan_after(for_us, Plan::Start(node));
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        place.is_running = false;
        match place.subject.restart() {
            Err(_) if place.has_lost_power() => self.power_is_gone(node),
            opened => opened.map_err(|fault| format!("replica {node} does not open again: {fault}")),
        }
    }

    fn forget(&mut self, node: usize, shares: &[u64]) -> Checked {
        self.counts.truncations += 1;
        self.note(format_args!("forget deletes at {node}"));
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        let shares = |version: VersionVector| {
            version.iter().zip(shares).map(|((id, seq), share)| (id, seq * (*share).min(1_000) / 1_000)).collect()
        };
        let truncated = place.subject.version().map(shares).and_then(|below| place.subject.truncate(&below));
        match truncated {
            Err(_) if place.has_lost_power() => return self.power_is_gone(node),
            truncated => truncated.map_err(|fault| format!("replica {node} does not forget: {fault}"))?,
        }
        self.network.committed(node);
        self.check(node)
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

    pub(super) fn set_clock(&mut self, node: usize) {
        let now_ms = EPOCH_MS + self.network.now() / 1_000;
        if let Some(place) = self.places.get_mut(node) {
            place.subject.set_clock(now_ms.saturating_add_signed(place.skew_ms));
        }
    }

    pub(super) fn write(&mut self, node: usize, seed: u64) -> Checked {
        let schema = Arc::clone(&self.schema);
        // What is written most is a matter of the whole run.
        let generator = Generator::new(&schema, &mut Rng::new(self.scenario.seed));
        let mut rng = Rng::new(seed);
        let ops: Vec<Op> = (0..1 + rng.index(3)).map(|_| generator.op(&[], &mut rng)).collect();
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
        let Some(id) = place.subject.store().replica().map_err(say)? else { return Ok(()) };
        let last = place.subject.version().map_err(say)?.get(id);
        if last > place.version.get(id) {
            let at = self.oracle.record(place.lane, &place.cut, last, ops, &[]);
            self.oracle.set_writer(at, id);
            place.log.push(ops.to_vec());
            match &mut place.outrun {
                Some(outrun) if outrun.id == id => outrun.branch.push(last, at),
                _as_others_see_it => self.histories.of(id).push(last, at),
            }
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
    fn crash(&mut self, node: usize, after: Option<u64>) -> Checked {
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
    pub(super) fn check(&mut self, node: usize) -> Checked {
        self.hear_store(node)?;
        let Some(place) = self.places.get_mut(node) else { return Ok(()) };
        let version = match place.subject.version() {
            Ok(version) => version,
            Err(_) if place.has_lost_power() => return self.power_is_gone(node),
            Err(fault) => return Err(format!("replica {node}: {fault}")),
        };
        if version == place.version {
            return Ok(());
        }
        let own = place.outrun.as_ref().map(|outrun| (outrun.id, &outrun.branch));
        let Some(cut) = self.histories.cut_at(&version, own) else {
            return Err(format!("replica {node} has a part of a transaction: {version:?}"));
        };
        let cut = cut.with_count(place.lane, cut.count(place.lane).max(place.unnumbered));
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
        let slowest = self.scenario.links.iter().map(|link| *link.faults.latency.end()).max().unwrap_or_default();
        let round = self.scenario.settings.exchange_every_ms.saturating_mul(1_000).saturating_add(slowest);
        // What one end of a line has goes to the other over all links between, and each may lose its frames.
        let rounds = 10 + 2 * (self.places.len() as u64).saturating_sub(2);
        let end = self.network.now() + round.saturating_mul(rounds).saturating_add(10_000_000);
        while !self.all_are_same() {
            if self.network.now() > end {
                return Err(self.how_they_stand());
            }
            match self.network.advance() {
                // The writes and faults are over.
                Some(Happened::Planned(number)) => self.start_again(number),
                Some(happened) => self.happened(happened)?,
                None => return Err(String::from("nothing happens any more, and they are not the same")),
            }
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
        // A copy may have written as much as its original meanwhile.
        let is_same =
            |place: &Place| place.outrun.is_none() && Some(&place.version) == self.places.first().map(|first| &first.version);
        self.places.iter().all(is_same)
    }
}

/// A fault, in words.
pub(super) fn say<E: ToString>(fault: E) -> String {
    fault.to_string()
}

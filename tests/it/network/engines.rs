//! Engines driven by hand: the bytes of a push, and peers that send what is no frame.

use std::collections::VecDeque;

use tombolo::Store;
use tombolo::causal::{ReplicaId, VersionVector};
use tombolo::kv::Attached;
use tombolo::replication::{Access, ByeCode, Config, Engine, Event, Input, Link, Moment, Output, PeerId, Replica as _, Space};
use tombolo::sim::Rng;
use tombolo::storage::Memory;

use super::store;
use crate::forge::{COUNTER, REGISTER, SET, path};

/// Engines whose frames are carried at once.
struct Bench {
    engines: Vec<Engine<Attached>>,
    stores: Vec<Store>,
    space: Space,
    now: u64,
    /// From whom, to whom, and what was said.
    frames: Vec<(usize, usize, Vec<u8>)>,
    events: Vec<(usize, Event)>,
}

impl Bench {
    /// All linked with all. The peer of a number is the engine of that number.
    fn new(count: usize, is_ordered: bool) -> Self {
        let link = Link { is_ordered, window: 1 << 20, access: Access::Full };
        let mut bench = Self::of((0..count).map(store).collect(), link);
        bench.frames.clear();
        bench
    }

    fn of(stores: Vec<Store>, link: Link) -> Self {
        let count = stores.len();
        let mut space = [0; 16];
        let mut engines = Vec::new();
        for (number, store) in stores.iter().enumerate() {
            let attached = store.attach(|| ());
            space = attached.space();
            let mut engine = Engine::new(Config::default(), number as u64);
            engine.attach(Moment::default(), attached);
            engines.push(engine);
        }
        let mut bench = Self { engines, stores, space, now: 0, frames: Vec::new(), events: Vec::new() };
        let pairs = (0..count).flat_map(|one| (0..count).map(move |other| (one, other))).filter(|(one, other)| one != other);
        bench.handle_all(pairs.map(|(one, other)| (one, Input::Up { peer: PeerId(other as u64), link })).collect());
        bench.pass(15_000_000);
        bench
    }

    fn handle(&mut self, at: usize, input: Input) {
        self.handle_all(VecDeque::from([(at, input)]));
    }

    /// These first, and then what comes of them.
    fn handle_all(&mut self, mut inputs: VecDeque<(usize, Input)>) {
        while let Some((at, input)) = inputs.pop_front() {
            let now = Moment::from_micros(self.now);
            self.engines[at].handle(now, input);
            loop {
                match self.engines[at].poll() {
                    Output::Send { to: PeerId(to), frame } => {
                        let to = usize::try_from(to).unwrap();
                        self.frames.push((at, to, frame.clone()));
                        inputs.push_back((at, Input::Sent { peer: PeerId(to as u64), bytes: frame.len() as u64 }));
                        if to < self.engines.len() {
                            inputs.push_back((to, Input::Received { peer: PeerId(at as u64), frame }));
                        }
                    }
                    Output::Close { peer: PeerId(peer) } => {
                        let peer = usize::try_from(peer).unwrap();
                        if peer < self.engines.len() {
                            inputs.push_back((peer, Input::Down { peer: PeerId(at as u64) }));
                        }
                    }
                    Output::Event(event) => self.events.push((at, event)),
                    Output::WaitUntil(_) => break,
                }
            }
        }
    }

    /// Lets time pass, with a tick of everybody each 50 ms.
    fn pass(&mut self, micros: u64) {
        let end = self.now + micros;
        while self.now < end {
            self.now += 50_000;
            (0..self.engines.len()).for_each(|at| self.handle(at, Input::Tick));
        }
    }

    fn committed(&mut self, at: usize) {
        let space = self.space;
        self.handle(at, Input::Changed { space });
    }
}

/// The frame of one transaction, besides the version and the store in front of it.
fn pushed(bench: &mut Bench, is_ordered: bool, write: impl Fn(&Store)) -> usize {
    bench.frames.clear();
    write(&bench.stores[0]);
    bench.committed(0);
    let (from, to, frame) = bench.frames.first().unwrap();
    assert_eq!((*from, *to), (0, 1));
    frame.len() - if is_ordered { 2 } else { 18 }
}

#[test]
fn a_push_of_one_row_takes_at_most_16_bytes_besides_and_48_where_each_frame_stands_alone() {
    for (is_ordered, most) in [(true, 16), (false, 48)] {
        let mut bench = Bench::new(2, is_ordered);
        // Numbers that take more than one byte, and rows that replace others.
        for round in 0..200_u64 {
            bench.stores[0].register::<u64>("title").set(&round).unwrap();
            bench.committed(0);
        }
        let register = pushed(&mut bench, is_ordered, |store| store.register::<u64>("title").set(&7).unwrap());
        let set = pushed(&mut bench, is_ordered, |store| store.set::<String>("tags").insert("draft").unwrap());
        // The payload of a register is its value, of a counter its sums; the element of a set is a part of its path.
        let register = register - path("title", REGISTER).len() - 1;
        let set = set - path("tags", SET).len() - "draft".len() - 2;
        println!("ordered {is_ordered}: register {register} B, set {set} B");
        assert!(register <= most && set <= most);
        let counter = pushed(&mut bench, is_ordered, |store| store.counter("visits").add(1).unwrap());
        println!("ordered {is_ordered}: counter {} B with its sums", counter - path("visits", COUNTER).len());
        assert_eq!(bench.stores[0].digest().unwrap(), bench.stores[1].digest().unwrap());
    }
}

#[test]
fn a_peer_that_sends_what_is_no_frame_is_cut_off_and_the_others_go_on() {
    let mut rng = Rng::new(9);
    for round in 0..200 {
        let mut bench = Bench::new(2, true);
        bench.stores[1].counter("visits").add(2).unwrap();
        bench.committed(1);
        // A stranger with a link of its own.
        let stranger = PeerId(77);
        bench.handle(
            0,
            Input::Up { peer: stranger, link: Link { is_ordered: round % 2 == 0, window: 1 << 20, access: Access::Full } },
        );
        for _ in 0..20 {
            let frame = match rng.below(3) {
                0 => (0..rng.below(60)).map(|_| u8::try_from(rng.below(256)).unwrap()).collect(),
                // A true frame of somebody else, as it is or changed.
                _ => {
                    let mut frame = bench.frames[rng.index(bench.frames.len())].2.clone();
                    let at = rng.index(frame.len());
                    frame[at] = u8::try_from(rng.below(256)).unwrap();
                    frame
                }
            };
            bench.handle(0, Input::Received { peer: stranger, frame });
            bench.pass(100_000);
        }
        bench.stores[0].counter("visits").add(3).unwrap();
        bench.committed(0);
        bench.pass(25_000_000);
        assert_eq!(bench.stores[1].counter("visits").get().unwrap(), 5, "round {round}");
        for store in &bench.stores {
            store.check().unwrap();
        }
        let cut_off =
            |(at, event): &(usize, Event)| *at == 0 && matches!(event, Event::CutOff { code, .. } if *code != ByeCode::Leaving);
        let others = bench
            .events
            .iter()
            .filter(|event| cut_off(event))
            .filter(|(_, event)| !matches!(event, Event::CutOff { peer, .. } if *peer == stranger));
        assert_eq!(others.count(), 0, "who did nothing wrong stays");
    }
}

#[test]
fn a_store_that_takes_nothing_is_read_from_and_not_pushed_to() {
    let mut bench = Bench::new(2, true);
    let link = Link { is_ordered: true, window: 1 << 20, access: Access::Reader };
    // What is written by a reader stays there.
    bench.handle(0, Input::Down { peer: PeerId(1) });
    bench.handle(1, Input::Down { peer: PeerId(0) });
    let full = Link { access: Access::Full, ..link };
    bench.handle_all([(0, Input::Up { peer: PeerId(1), link }), (1, Input::Up { peer: PeerId(0), link: full })].into());
    bench.stores[1].counter("visits").add(1).unwrap();
    bench.committed(1);
    bench.stores[0].counter("visits").add(10).unwrap();
    bench.committed(0);
    bench.pass(60_000_000);
    assert_eq!(bench.stores[0].counter("visits").get().unwrap(), 10);
    assert_eq!(bench.stores[1].counter("visits").get().unwrap(), 11);
}

#[test]
fn a_store_that_left_and_came_back_is_kept_in_step_over_the_same_link() {
    let mut bench = Bench::new(2, true);
    bench.stores[0].counter("visits").add(1).unwrap();
    bench.committed(0);
    let (now, space) = (Moment::from_micros(bench.now), bench.space);
    assert!(bench.engines[1].detach(now, space).is_some());
    bench.pass(1_000_000);
    bench.stores[0].counter("visits").add(2).unwrap();
    bench.committed(0);
    let attached = bench.stores[1].attach(|| ());
    bench.engines[1].attach(Moment::from_micros(bench.now), attached);
    bench.pass(15_000_000);
    assert_eq!(bench.stores[1].counter("visits").get().unwrap(), 3);
    assert!(bench.events.iter().any(|(at, event)| *at == 0 && matches!(event, Event::Left { code: ByeCode::Leaving, .. })));
}

/// Pages make a store look at all its rows, and then ask again: once for each question, and not whenever a peer likes.
#[test]
fn a_peer_that_answers_with_pages_only_is_left_for_another() {
    let mut bench = Bench::new(2, true);
    let stranger = PeerId(77);
    bench.handle(0, Input::Up { peer: stranger, link: Link { is_ordered: false, window: 1 << 20, access: Access::Full } });
    let space = bench.space;
    let said = |message: &[u8]| [&[1, 0], &space[..], message].concat();
    // HELLO: of another version, and PAGES: of no replica.
    let hello = said(&[&[1, 0], &[7; 24][..]].concat());
    let pages = |pull: &[u8]| said(&[&[8], pull, &[0]].concat());
    let (mut asked, mut answered, mut read) = (0, 0, 0);
    let mut inputs = vec![hello];
    for round in 0..600 {
        if round % 20 == 0 {
            bench.stores[1].counter("visits").add(1).unwrap();
            bench.committed(1);
        }
        for frame in inputs.drain(..) {
            bench.handle(0, Input::Received { peer: stranger, frame });
        }
        bench.pass(100_000);
        for (_, to, frame) in &bench.frames[read..] {
            // A PULL says its number behind its kind: a varint.
            if *to == 77 && frame[18] == 2 {
                asked += 1;
                let end = 20 + frame[19..].iter().position(|byte| byte & 0x80 == 0).unwrap();
                inputs.extend([pages(&frame[19..end]), pages(&frame[19..end])]);
                answered += 2;
            }
        }
        read = bench.frames.len();
    }
    println!("{asked} questions in a minute, {answered} times pages");
    assert!((2..40).contains(&asked));
    assert_eq!(bench.stores[0].digest().unwrap(), bench.stores[1].digest().unwrap());
    bench.stores[0].check().unwrap();
}

/// A store and a copy of it have both given away one event under one number: equal versions, other contents.
#[test]
fn what_has_diverged_is_told_once_and_without_sending_what_is_there() {
    for access in [Access::Full, Access::Reader] {
        let memory = Memory::default();
        let open = |memory: &Memory| Store::options().replica(ReplicaId::from_u128(1)).open_backend(memory.clone()).unwrap();
        let give_away = |store: &Store| drop(store.delta_since(&VersionVector::new()).unwrap());
        let first = open(&memory);
        (0..10_000_u64).for_each(|number| first.register::<u64>(number).set(&number).unwrap());
        give_away(&first);
        let copy = open(&memory.fork());
        for (store, title) in [(&first, 1), (&copy, 2)] {
            store.register::<u64>("title").set(&title).unwrap();
            give_away(store);
        }
        let mut bench = Bench::of(vec![first, copy], Link { is_ordered: true, window: 1 << 20, access });
        bench.pass(60_000_000);
        let told = |of: usize| {
            let is_told = |(at, event): &&(usize, Event)| *at == of && matches!(event, Event::Diverged { .. });
            bench.events.iter().filter(is_told).count()
        };
        assert_eq!((told(0), told(1)), (1, 1), "{:?}", bench.events);
        let forks: usize = bench.stores.iter().map(|store| store.take_events().len()).sum();
        assert_eq!(forks > 0, matches!(access, Access::Full), "the store is told why, if anybody may be asked");
        let bytes: usize = bench.frames.iter().map(|(_from, _to, frame)| frame.len()).sum();
        assert!(bytes < 2_000, "{bytes} bytes");
    }
}

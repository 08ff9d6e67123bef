//! Two engines that are linked, and a stranger who sends one of them what the input says: junk, frames of the two as they are or changed, at any
//! time. Nothing panics, and both stores are whole in the end.

use std::collections::VecDeque;

use tombolo::kv::Attached;
use tombolo::replication::{Access, Config, Engine, Input, Link, Moment, Output, PeerId, Replica as _, Space};
use tombolo::{Error, ReplicaId, Store};

const STRANGER: PeerId = PeerId(7);

struct Bench {
    engines: [Engine<Attached>; 2],
    stores: [Store; 2],
    space: Space,
    now: u64,
    /// What the two have said to each other.
    frames: Vec<Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        let stores = [1, 2].map(|id| Store::options().replica(ReplicaId::from_u128(id)).in_memory());
        let mut space = [0; 16];
        let engines = [0, 1].map(|number: usize| {
            let attached = stores[number].attach(|| ());
            space = attached.space();
            let mut engine = Engine::new(Config::default(), number as u64);
            engine.attach(Moment::default(), attached);
            engine
        });
        let mut bench = Self { engines, stores, space, now: 0, frames: Vec::new() };
        bench.handle([(0, up(PeerId(1), true)), (1, up(PeerId(0), true))].into());
        bench
    }

    fn handle(&mut self, mut inputs: VecDeque<(usize, Input)>) {
        while let Some((at, input)) = inputs.pop_front() {
            self.engines[at].handle(Moment::from_micros(self.now), input);
            loop {
                match self.engines[at].poll() {
                    Output::Send { to, frame } => {
                        inputs.push_back((at, Input::Sent { peer: to, bytes: frame.len() as u64 }));
                        if to != STRANGER {
                            self.frames.push(frame.clone());
                            inputs.push_back((1 - at, Input::Received { peer: PeerId(at as u64), frame }));
                        }
                    }
                    Output::Close { peer } if peer != STRANGER => {
                        inputs.push_back((1 - at, Input::Down { peer: PeerId(at as u64) }));
                    }
                    Output::Close { .. } | Output::Event(_) => {}
                    Output::WaitUntil(_) => break,
                }
            }
        }
    }

    fn pass(&mut self, micros: u64) {
        self.now += micros;
        self.handle([(0, Input::Tick), (1, Input::Tick)].into());
    }

    fn write(&mut self, at: usize, value: u8) {
        let store = &self.stores[at];
        let written = match value % 4 {
            0 => store.register::<u8>("r").set(&value),
            1 => store.counter("c").add(i64::from(value)),
            2 => store.set::<u64>("s").insert(&u64::from(value % 16)),
            _ => store.delete("s").map(|_was_there| ()),
        };
        // Who is let in may leave a row that nobody can read, or add to: whoever tries is told so, and nothing else.
        assert!(matches!(written, Ok(()) | Err(Error::Decode { .. } | Error::Overflow { .. })), "{written:?}");
        let space = self.space;
        self.handle([(at, Input::Changed { space })].into());
    }
}

fn up(peer: PeerId, is_ordered: bool) -> Input {
    Input::Up { peer, link: Link { is_ordered, window: 1 << 20, access: Access::Full } }
}

pub(super) fn run(input: &[u8]) {
    let mut bench = Bench::new();
    bench.handle([(0, up(STRANGER, true))].into());
    let mut rest = input;
    while let [what, argument, more @ ..] = rest {
        rest = more;
        match what % 7 {
            0 | 1 => {
                let (frame, more) = rest.split_at(usize::from(*argument).min(rest.len()));
                rest = more;
                bench.handle([(0, Input::Received { peer: STRANGER, frame: frame.to_vec() })].into());
            }
            2 => {
                // A frame of the two, with one byte changed if there is one to change it to.
                let Some(frame) = bench.frames.get(usize::from(*argument) % bench.frames.len().max(1)) else { continue };
                let mut frame = frame.clone();
                if let [place, byte, more @ ..] = rest {
                    rest = more;
                    let place = usize::from(*place) % frame.len();
                    frame[place] = *byte;
                }
                bench.handle([(0, Input::Received { peer: STRANGER, frame })].into());
            }
            3 => bench.pass(u64::from(*argument) * 20_000),
            4 => bench.write(0, *argument),
            5 => bench.write(1, *argument),
            _ => bench.handle([(0, Input::Down { peer: STRANGER }), (0, up(STRANGER, argument % 2 == 0))].into()),
        }
    }
    for _ in 0..40 {
        bench.pass(1_000_000);
    }
    for store in &bench.stores {
        store.check().expect("a store that a stranger has spoken to is whole");
    }
}

//! How replicas exchange states, and parts of them: the algorithms of Enes, Almeida, Baquero, Leitão, "Efficient Synchronization of
//! State-based CRDTs" (2019), their algorithm 1, in rounds.

use serde::Serialize;
use tombolo::codec::msgpack;
use tombolo::crdt::Decompose;

/// What is sent each round.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Algorithm {
    /// The whole state, to each neighbour.
    State,
    /// What has come since the last round.
    Delta {
        /// BP: nothing goes back to the neighbour that it came from.
        avoids_return: bool,
        /// RR: of what comes, only the part is passed on that was new.
        removes_redundant: bool,
    },
}

pub(crate) const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::State,
    Algorithm::Delta { avoids_return: false, removes_redundant: false },
    Algorithm::Delta { avoids_return: true, removes_redundant: false },
    Algorithm::Delta { avoids_return: false, removes_redundant: true },
    Algorithm::Delta { avoids_return: true, removes_redundant: true },
];

/// What was sent until all were the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Parts of the join decomposition: elements of a set, entries of a map, totals of a counter.
    pub(crate) elements: u64,
}

struct Node<L> {
    state: L,
    neighbours: Vec<usize>,
    /// What is to be sent, and which neighbour it came from.
    buffer: Vec<(L, Option<usize>)>,
}

impl<L: Decompose + Serialize> Node<L> {
    fn message(&self, algorithm: Algorithm, to: usize) -> L {
        match algorithm {
            Algorithm::State => self.state.clone(),
            Algorithm::Delta { avoids_return, .. } => {
                let mut message = L::bottom();
                let goes = self.buffer.iter().filter(|(_delta, from)| !avoids_return || *from != Some(to));
                for (delta, _from) in goes {
                    message.join(delta);
                }
                message
            }
        }
    }

    fn receive(&mut self, algorithm: Algorithm, message: L, from: usize) {
        let Algorithm::Delta { removes_redundant, .. } = algorithm else {
            self.state.join(&message);
            return;
        };
        let new = if removes_redundant { message.minus(&self.state) } else { message };
        if self.state.join(&new) {
            self.buffer.push((new, Some(from)));
        }
    }
}

/// Runs rounds until all has arrived everywhere. In each of the first `rounds` every replica does its `updates`, which return their deltas;
/// then everybody sends to all neighbours, and everything arrives. A message that says nothing is not sent.
pub(crate) fn run<L: Decompose + Serialize>(
    links: &[[usize; 2]],
    algorithm: Algorithm,
    rounds: u64,
    updates: impl Fn(&mut L, usize, u64) -> Vec<L>,
) -> Sent {
    let count = links.iter().flatten().max().map_or(0, |last| last + 1);
    let mut nodes: Vec<Node<L>> = (0..count)
        .map(|node| {
            let other = |[one, other]: &[usize; 2]| match (*one == node, *other == node) {
                (true, _) => Some(*other),
                (false, true) => Some(*one),
                (false, false) => None,
            };
            Node { state: L::bottom(), neighbours: links.iter().filter_map(other).collect(), buffer: Vec::new() }
        })
        .collect();
    let mut sent = Sent::default();
    for round in 0.. {
        if round < rounds {
            for (number, node) in nodes.iter_mut().enumerate() {
                let deltas = updates(&mut node.state, number, round);
                node.buffer.extend(deltas.into_iter().map(|delta| (delta, None)));
            }
        } else if nodes.windows(2).all(|pair| pair[0].state == pair[1].state) {
            break;
        }
        let mut under_way = Vec::new();
        for (from, node) in nodes.iter_mut().enumerate() {
            for to in &node.neighbours {
                let message = node.message(algorithm, *to);
                if !message.is_bottom() {
                    sent.bytes += msgpack::to_bytes(&message).unwrap().len() as u64;
                    sent.elements += message.parts().count() as u64;
                    under_way.push((from, *to, message));
                }
            }
            node.buffer.clear();
        }
        for (from, to, message) in under_way {
            nodes[to].receive(algorithm, message, from);
        }
    }
    sent
}

//! Real nodes over loopback TCP, and over the network in memory.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use tombolo::Store;
use tombolo::kv::SpaceId;
use tombolo::node::{Ack, Node, NodeBuilder, NodeError, NodeEvent, PeerState};
use tombolo::replication::{ByeCode, Config};
use tombolo::transport::memory::{Faults, Memory};

const DEADLINE: Duration = Duration::from_secs(30);

/// A node that listens, and where.
async fn listening(builder: NodeBuilder) -> (Node, String) {
    let node = builder.listen("127.0.0.1:0").start().await.unwrap();
    let address = node.local_addr().unwrap().to_string();
    (node, address)
}

async fn two() -> ([Store; 2], [Node; 2]) {
    let stores = [Store::in_memory(), Store::in_memory()];
    let (one, address) = listening(Node::builder(stores[0].clone())).await;
    let other = Node::builder(stores[1].clone()).peer(address).start().await.unwrap();
    (stores, [one, other])
}

/// Waits until something holds. It is looked at often, since not all of it is told.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, look).await.unwrap_or_else(|_late| panic!("not in time: {what}"));
}

async fn same(stores: &[Store]) {
    let digests = || stores.iter().map(|store| store.digest().unwrap()).collect::<Vec<_>>();
    until("equal digests", || digests().windows(2).all(|pair| pair[0] == pair[1])).await;
}

async fn event(node: &mut tombolo::node::Events, is_it: impl Fn(&NodeEvent) -> bool) -> NodeEvent {
    let listen = async {
        loop {
            let event = node.next().await.expect("the node has stopped");
            if is_it(&event) {
                return event;
            }
        }
    };
    timeout(DEADLINE, listen).await.expect("it did not happen in time")
}

#[tokio::test]
async fn two_nodes_converge_and_what_is_written_then_arrives_live() {
    let stores = [Store::in_memory(), Store::in_memory()];
    for (at, store) in stores.iter().enumerate() {
        for key in 0..500_u64 {
            store.register::<u64>((at as u64, key)).set(&key).unwrap();
        }
    }
    let (one, address) = listening(Node::builder(stores[0].clone())).await;
    let other = Node::builder(stores[1].clone()).peer(address.clone()).start().await.unwrap();
    same(&stores).await;
    let mut bytes = other.status().await.unwrap().peers[0].bytes_in;
    for round in 0..20 {
        stores[round % 2].counter("visits").add(1).unwrap();
        // Long before they compare again, after ten seconds.
        let now = Duration::from_secs(5);
        let arrives = until("a push", || stores[1 - round % 2].counter("visits").get().unwrap() == round as i128 + 1);
        timeout(now, arrives).await.expect("it did not come at once");
    }
    bytes = other.status().await.unwrap().peers[0].bytes_in - bytes;
    assert!(bytes < 10_000, "{bytes} bytes for ten small transactions");
    assert!(other.wait_for(&stores[1].version().unwrap(), Ack::All, DEADLINE).await.unwrap());
    let status = other.status().await.unwrap();
    assert!(status.is_in_step(), "{status:?}");
    let peer = &status.peers[0];
    assert_eq!((peer.name.as_str(), peer.state, peer.is_dialled), (address.as_str(), PeerState::Up, true));
    assert_eq!(peer.spaces[0].replica, stores[0].replica().unwrap());
    assert!(peer.last_contact.unwrap() < DEADLINE && peer.bytes_out > 0);
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_all_dial_each_other_converge() {
    // All addresses must be known before any node is there.
    let mut addresses = Vec::new();
    for _ in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
    }
    let stores: Vec<Store> = (0..3).map(|_| Store::in_memory()).collect();
    let mut nodes = Vec::new();
    for (at, store) in stores.iter().enumerate() {
        let others = addresses.iter().enumerate().filter(|(other, _address)| *other != at);
        let builder = others.fold(Node::builder(store.clone()), |builder, (_, address)| builder.peer(address));
        nodes.push(builder.listen(&addresses[at]).start().await.unwrap());
    }
    for round in 0..30 {
        stores[round % 3].set::<u64>("rounds").insert(&(round as u64)).unwrap();
    }
    same(&stores).await;
    assert_eq!(stores[0].set::<u64>("rounds").len().unwrap(), 30);
    for (node, store) in nodes.iter().zip(&stores) {
        assert!(node.wait_for(&store.version().unwrap(), Ack::All, DEADLINE).await.unwrap());
        let status = node.status().await.unwrap();
        // One connection to each, under the address that is dialled, whoever has dialled.
        assert_eq!(status.peers.len(), 2, "{status:?}");
        assert!(status.peers.iter().all(|peer| peer.state == PeerState::Up), "{status:?}");
    }
}

#[tokio::test]
async fn a_line_of_three_passes_on_what_comes() {
    let stores: Vec<Store> = (0..3).map(|_| Store::in_memory()).collect();
    let (first, of_first) = listening(Node::builder(stores[0].clone())).await;
    let (second, of_second) = listening(Node::builder(stores[1].clone()).peer(of_first)).await;
    let third = Node::builder(stores[2].clone()).peer(of_second).start().await.unwrap();
    for round in 0..10 {
        stores[0].counter("from the first").add(1).unwrap();
        stores[2].counter("from the third").add(1).unwrap();
        until("both counters", || {
            stores.iter().all(|store| {
                let at = |key| store.counter(key).get().unwrap() == round + 1;
                at("from the first") && at("from the third")
            })
        })
        .await;
    }
    same(&stores).await;
    drop((first, second, third));
}

#[tokio::test]
async fn a_peer_that_goes_and_comes_back_gets_what_it_missed() {
    let (stores, [one, other]) = two().await;
    let address = other.status().await.unwrap().peers[0].name.clone();
    stores[0].counter("visits").add(1).unwrap();
    same(&stores).await;
    let mut events = other.events();
    for round in 1..4 {
        let node = if round == 1 { one.clone() } else { listening_at(&stores[0], address.as_str()).await };
        same(&stores).await;
        node.shutdown().await.unwrap();
        let left = event(&mut events, |event| matches!(event, NodeEvent::Left { .. })).await;
        assert!(matches!(left, NodeEvent::Left { code: ByeCode::Leaving, .. }), "{left:?}");
        event(&mut events, |event| matches!(event, NodeEvent::Down { .. })).await;
        stores[1].counter("visits").add(1).unwrap();
        stores[0].counter("missed").add(1).unwrap();
    }
    let _last = listening_at(&stores[0], address.as_str()).await;
    same(&stores).await;
    assert_eq!(stores[0].counter("visits").get().unwrap(), 4);
    // It is the same peer all along.
    let status = other.status().await.unwrap();
    assert_eq!(status.peers.len(), 1, "{status:?}");
}

async fn listening_at(store: &Store, address: &str) -> Node {
    Node::builder(store.clone()).listen(address).start().await.unwrap()
}

#[tokio::test]
async fn a_stranger_that_sends_junk_is_cut_off_and_the_others_go_on() {
    let stores = [Store::in_memory(), Store::in_memory()];
    let (one, address) = listening(Node::builder(stores[0].clone())).await;
    let other = Node::builder(stores[1].clone()).peer(address.clone()).start().await.unwrap();
    let mut events = one.events();
    event(&mut other.events(), |event| matches!(event, NodeEvent::InStep { .. } | NodeEvent::Met { .. })).await;

    // Not even a preface.
    let mut stranger = TcpStream::connect(&address).await.unwrap();
    stranger.write_all(&[0xa5; 64]).await.unwrap();
    event(&mut events, |event| matches!(event, NodeEvent::Unreachable { why, .. } if why.contains("no tombolo node"))).await;

    // A preface, and frames that no node writes.
    let mut stranger = TcpStream::connect(&address).await.unwrap();
    stranger.write_all(&[&b"tombolo\n\x01"[..], &[9; 16], &[0]].concat()).await.unwrap();
    stranger.write_all(&[5, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    event(&mut events, |event| matches!(event, NodeEvent::CutOff { code: ByeCode::Malformed, .. })).await;
    let mut told = Vec::new();
    // To the end: it is closed.
    let _result = timeout(DEADLINE, stranger.read_to_end(&mut told)).await.unwrap();

    stores[1].counter("visits").add(1).unwrap();
    same(&stores).await;
    let status = one.status().await.unwrap();
    assert_eq!(status.peers.len(), 1, "strangers are forgotten: {status:?}");
}

#[tokio::test]
async fn a_node_that_dials_itself_says_so_and_goes_on() {
    let stores = [Store::in_memory(), Store::in_memory()];
    let (one, address) = listening(Node::builder(stores[0].clone())).await;
    let mut events = one.events();
    one.add_peer(address.clone()).unwrap();
    event(&mut events, |event| matches!(event, NodeEvent::Unreachable { why, .. } if why.contains("itself"))).await;
    let other = Node::builder(stores[1].clone()).peer(address).start().await.unwrap();
    stores[0].counter("visits").add(1).unwrap();
    same(&stores).await;
    drop(other);
}

#[tokio::test]
async fn several_stores_share_one_connection() {
    let files = [Store::in_memory(), Store::in_memory()];
    let spaces = ["work", "home"].map(|name| files.each_ref().map(|file| file.space(name).unwrap()));
    let (one, address) = listening(Node::builder(files[0].clone()).store(spaces[0][0].clone())).await;
    let other = Node::builder(spaces[0][1].clone()).peer(address).start().await.unwrap();
    spaces[0][0].counter("hours").add(8).unwrap();
    same(&spaces[0]).await;
    // Only one of them keeps it so far.
    files[0].counter("default").add(1).unwrap();
    for (node, store) in [(&one, &spaces[1][0]), (&other, &spaces[1][1])] {
        node.add_store(store).unwrap();
    }
    spaces[1][1].counter("hours").add(16).unwrap();
    same(&spaces[1]).await;
    assert_eq!(spaces[1][0].counter("hours").get().unwrap(), 16);
    assert_eq!(files[1].counter("default").get().unwrap(), 0);
    let status = other.status().await.unwrap();
    assert_eq!((status.peers.len(), status.stores.len()), (1, 2));
    let met = status.peers[0].spaces.iter().filter(|space| space.is_met).map(|space| space.space);
    let mut expected = ["work", "home"].map(SpaceId::of);
    expected.sort();
    assert_eq!(met.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn waiting_for_peers_tells_whether_they_have_it() {
    let (stores, [one, other]) = two().await;
    stores[1].counter("visits").add(1).unwrap();
    let version = stores[1].version().unwrap();
    for ack in [Ack::Peers(1), Ack::Majority, Ack::All] {
        assert!(other.wait_for(&version, ack, DEADLINE).await.unwrap(), "{ack:?}");
    }
    assert!(stores[0].version().unwrap().covers(&version));
    assert!(one.wait_until_here(&version, DEADLINE).await.unwrap());
    let soon = Duration::from_millis(50);
    assert!(!other.wait_for(&version, Ack::Peers(2), soon).await.unwrap());
    // An address where nobody is counts as a peer that lacks everything.
    other.add_peer("127.0.0.1:1").unwrap();
    assert!(!other.wait_for(&version, Ack::All, soon).await.unwrap());
    assert!(other.wait_for(&version, Ack::Majority, DEADLINE).await.unwrap());
    other.remove_peer("127.0.0.1:1").unwrap();
    assert!(other.wait_for(&version, Ack::All, DEADLINE).await.unwrap());

    one.shutdown().await.unwrap();
    stores[1].counter("visits").add(1).unwrap();
    let version = stores[1].version().unwrap();
    assert!(!other.wait_for(&version, Ack::All, soon).await.unwrap());
    assert!(!other.wait_for(&version, Ack::Majority, soon).await.unwrap());
    assert!(matches!(one.wait_until_here(&version, soon).await, Err(NodeError::Stopped)));
    // It was no rollback.
    assert_eq!(stores[1].counter("visits").get().unwrap(), 2);
}

#[tokio::test]
async fn a_session_that_moves_to_another_replica_reads_what_it_wrote() {
    let (stores, [one, _other]) = two().await;
    for round in 1..=20 {
        stores[1].counter("visits").add(1).unwrap();
        let token = stores[1].version().unwrap();
        assert!(one.wait_until_here(&token, DEADLINE).await.unwrap());
        assert_eq!(stores[0].counter("visits").get().unwrap(), round);
    }
    let elsewhere = Store::in_memory();
    elsewhere.counter("visits").add(1).unwrap();
    assert!(!one.wait_until_here(&elsewhere.version().unwrap(), Duration::from_millis(50)).await.unwrap());
}

#[tokio::test]
async fn a_reader_is_given_to_and_nothing_is_taken_from_it() {
    let stores = [Store::in_memory(), Store::in_memory()];
    let (reader, address) = listening(Node::builder(stores[0].clone())).await;
    let writer = Node::builder(stores[1].clone()).reader(address).start().await.unwrap();
    stores[0].counter("from the reader").add(1).unwrap();
    stores[1].counter("from the writer").add(1).unwrap();
    assert!(writer.wait_for(&stores[1].version().unwrap(), Ack::All, DEADLINE).await.unwrap());
    assert_eq!(stores[0].counter("from the writer").get().unwrap(), 1);
    stores[1].counter("from the writer").add(1).unwrap();
    assert!(writer.wait_for(&stores[1].version().unwrap(), Ack::All, DEADLINE).await.unwrap());
    assert_eq!(stores[1].counter("from the reader").get().unwrap(), 0);
    drop(reader);
}

#[tokio::test]
async fn a_node_that_was_shut_down_does_nothing_more_and_lets_go_of_its_stores() {
    let (stores, [one, other]) = two().await;
    same(&stores).await;
    let mut events = other.events();
    let clone = other.clone();
    let (first, second) = tokio::join!(other.shutdown(), clone.shutdown());
    first.and(second).unwrap();
    other.shutdown().await.unwrap();
    while events.next().await.is_some() {}
    assert!(matches!(other.add_store(&stores[0]), Err(NodeError::Stopped)));
    assert!(matches!(other.status().await, Err(NodeError::Stopped)));
    stores[1].counter("visits").add(1).unwrap();
    assert!(!one.wait_until_here(&stores[1].version().unwrap(), Duration::from_millis(50)).await.unwrap());
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_file_can_be_opened_again_after_a_shutdown_or_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let here = Store::in_memory();
    let (_one, address) = listening(Node::builder(here.clone())).await;
    for round in 1..=4 {
        let mut opened = Store::open(&path);
        // A node that was dropped lets go in the background.
        until("the file is let go of", || {
            if matches!(opened, Err(tombolo::Error::Locked)) {
                opened = Store::open(&path);
            }
            opened.is_ok()
        })
        .await;
        let store = opened.unwrap();
        let node = Node::builder(store.clone()).peer(address.clone()).start().await.unwrap();
        store.counter("rounds").add(1).unwrap();
        if round % 2 == 0 {
            node.shutdown().await.unwrap();
        }
        drop((node, store));
    }
    let store = Store::open(&path).unwrap();
    assert_eq!(store.counter("rounds").get().unwrap(), 4);
}

#[tokio::test]
async fn dropping_the_last_clone_says_goodbye_and_loses_nothing() {
    let (stores, [one, other]) = two().await;
    same(&stores).await;
    let mut events = one.events();
    let clone = other.clone();
    drop(other);
    stores[1].counter("visits").add(1).unwrap();
    assert!(one.wait_until_here(&stores[1].version().unwrap(), DEADLINE).await.unwrap(), "a clone keeps it alive");
    for _ in 0..100 {
        stores[1].counter("visits").add(1).unwrap();
    }
    drop(clone);
    event(&mut events, |event| matches!(event, NodeEvent::Left { code: ByeCode::Leaving, .. })).await;
    event(&mut events, |event| matches!(event, NodeEvent::Down { .. })).await;
    assert_eq!(stores[1].counter("visits").get().unwrap(), 101);
    // What was written before it was dropped was on its way.
    assert_eq!(stores[0].counter("visits").get().unwrap(), 101);
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_and_starts_nothing() {
    let store = Store::in_memory();
    let (_one, address) = listening(Node::builder(store.clone())).await;
    let result = Node::builder(store).listen(address).start().await;
    assert!(matches!(result, Err(NodeError::Listen { .. })), "{result:?}");
}

#[test]
fn without_a_runtime_there_is_an_error() {
    let mut start = std::pin::pin!(Node::builder(Store::in_memory()).start());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(start.as_mut().poll(&mut context), std::task::Poll::Ready(Err(NodeError::NoRuntime))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_network_that_loses_repeats_and_reorders_nodes_converge_after_a_cut() {
    let network = Memory::new(5, Faults { loss: 100, repetition: 100, reordering: 100 });
    let mut config = Config::default();
    (config.exchange_every, config.graft_after) = (Duration::from_millis(200), Duration::from_millis(50));
    (config.answer_timeout, config.retry_max) = (Duration::from_secs(1), Duration::from_secs(1));
    let stores: Vec<Store> = (0..3).map(|_| Store::in_memory()).collect();
    let names = ["a", "b", "c"];
    let mut nodes = Vec::new();
    for (store, name) in stores.iter().zip(names) {
        let builder = Node::builder(store.clone()).transport(network.join(name)).config(config.clone());
        nodes.push(builder.start().await.unwrap());
    }
    network.cut("a", "b");
    network.cut("a", "c");
    for (round, store) in (0..100_u64).zip(stores.iter().cycle()) {
        store.set::<u64>("rounds").insert(&round).unwrap();
    }
    same(&stores[1..]).await;
    assert!(!nodes[0].wait_until_here(&stores[1].version().unwrap(), Duration::from_millis(50)).await.unwrap());
    network.heal("a", "b");
    same(&stores).await;
    assert_eq!(stores[0].set::<u64>("rounds").len().unwrap(), 100);
}

#[tokio::test]
async fn an_ordered_link_that_is_cut_goes_down_and_comes_back() {
    let network = Memory::new(5, Faults::default());
    let stores = [Store::in_memory(), Store::in_memory()];
    let one = Node::builder(stores[0].clone()).transport(network.join("a")).start().await.unwrap();
    let _other = Node::builder(stores[1].clone()).transport(network.join("b")).start().await.unwrap();
    let mut events = one.events();
    event(&mut events, |event| matches!(event, NodeEvent::InStep { .. } | NodeEvent::Met { .. })).await;
    network.cut("a", "b");
    event(&mut events, |event| matches!(event, NodeEvent::Down { .. })).await;
    stores[0].counter("visits").add(1).unwrap();
    network.heal("b", "a");
    same(&stores).await;
}

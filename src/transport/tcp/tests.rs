//! Real connections over loopback.

use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::transport::{FromLink, Port, conformance};

const DEADLINE: Duration = Duration::from_secs(20);

fn listening() -> (Tcp, PeerName) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = PeerName::from(listener.local_addr().unwrap().to_string());
    (Tcp::listening(listener), address)
}

/// A node of the tests: what its transport tells it.
struct End {
    port: Port,
    heard: mpsc::UnboundedReceiver<FromLink>,
    run: JoinHandle<io::Result<()>>,
    comings: BTreeMap<PeerName, u64>,
}

impl End {
    fn start(id: u8, tcp: Tcp) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        let (port, link) = Port::new([id; 16], 1 << 20, move |what| tell.send(what).unwrap_or_default());
        Self { port, heard, run: tokio::spawn(tcp.run(link)), comings: BTreeMap::new() }
    }

    async fn hear(&mut self) -> FromLink {
        let what = timeout(DEADLINE, self.heard.recv()).await.expect("nothing happens").expect("it has ended");
        if let FromLink::Up { peer, coming, .. } = &what {
            self.comings.insert(peer.clone(), *coming);
        }
        what
    }

    fn hear_what_is_there(&mut self) {
        while let Ok(what) = self.heard.try_recv() {
            if let FromLink::Up { peer, coming, .. } = what {
                self.comings.insert(peer, coming);
            }
        }
    }

    fn send(&self, to: &PeerName, bytes: Vec<u8>) {
        self.port.send(to.clone(), self.comings[to], bytes);
    }

    async fn up(&mut self) -> PeerName {
        loop {
            if let FromLink::Up { peer, .. } = self.hear().await {
                return peer;
            }
        }
    }

    async fn down(&mut self) -> (PeerName, String) {
        loop {
            if let FromLink::Down { peer, why } = self.hear().await {
                return (peer, why);
            }
        }
    }

    async fn unreachable(&mut self) -> (PeerName, String) {
        loop {
            if let FromLink::Unreachable { peer, why } = self.hear().await {
                return (peer, why);
            }
        }
    }

    async fn frame(&mut self) -> Vec<u8> {
        loop {
            if let FromLink::Received { bytes, .. } = self.hear().await {
                return bytes;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_transport() {
    conformance(|| {
        let (one, address) = listening();
        (one, Tcp::dialling().peer(address))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_one_if_both_dial() {
    conformance(|| {
        let ((one, address_of_one), (other, address_of_other)) = (listening(), listening());
        (one.peer(address_of_other), other.peer(address_of_one))
    })
    .await;
}

#[tokio::test]
async fn two_that_dial_each_other_have_one_connection_by_the_addresses_that_they_dial() {
    let ((one, address_of_one), (other, address_of_other)) = (listening(), listening());
    let (mut one, mut other) =
        (End::start(1, one.peer(address_of_other.clone())), End::start(2, other.peer(address_of_one.clone())));
    // It may be another one at first.
    for (end, name) in [(&mut one, &address_of_other), (&mut other, &address_of_one)] {
        while end.up().await != *name {}
    }
    let numbers = async {
        // Whatever was given out on a connection that was given up is lost.
        for number in 0_u8.. {
            one.hear_what_is_there();
            one.send(&address_of_other, vec![number]);
            sleep(Duration::from_millis(20)).await;
        }
    };
    let arrive = async { while other.frame().await[0] < 50 {} };
    tokio::select! {
        () = numbers => {}
        () = arrive => {}
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_is_up_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = PeerName::from(listener.local_addr().unwrap().to_string());
    let mut dials = End::start(1, Tcp::dialling().peer(address.clone()));
    let mut listens = End::start(2, Tcp::listening(listener.try_clone().unwrap()));
    for id in 3..6 {
        assert_eq!(dials.up().await, address);
        let caller = listens.up().await;
        listens.send(&caller, vec![id]);
        assert_eq!(dials.frame().await, [id]);
        let End { port, heard: _heard, run, .. } = listens;
        drop(port);
        run.await.unwrap().unwrap();
        assert_eq!(dials.down().await.0, address);
        listens = End::start(id, Tcp::listening(listener.try_clone().unwrap()));
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_yet_is_found_later() {
    let (listens, address) = listening();
    let at: SocketAddr = address.as_str().parse().unwrap();
    drop(listens);
    let mut dials = End::start(1, Tcp::dialling().peer(address.clone()));
    for _ in 0..2 {
        assert_eq!(dials.unreachable().await.0, address);
    }
    let _listens = End::start(2, Tcp::bind(at).await.unwrap());
    assert_eq!(dials.up().await, address);
}

#[tokio::test]
async fn a_stranger_is_told_nothing_and_others_go_on() {
    let (listens, address) = listening();
    let mut listens = End::start(1, listens);
    let mut stranger = TcpStream::connect(address.as_str()).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let (_name, why) = listens.unreachable().await;
    assert!(why.contains("no tombolo node"), "{why}");
    let mut told = Vec::new();
    // Or a reset: it had not read everything.
    let _result = timeout(DEADLINE, stranger.read_to_end(&mut told)).await.unwrap();
    assert!(told.is_empty() || told.starts_with(b"tombolo\n") && told.len() == 25, "{told:?}");
    let _other = End::start(2, Tcp::dialling().peer(address));
    listens.up().await;
}

#[tokio::test]
async fn another_version_is_refused_and_told_so() {
    let (listens, address) = listening();
    let mut listens = End::start(1, listens);
    let mut newer = TcpStream::connect(address.as_str()).await.unwrap();
    newer.write_all(b"tombolo\n\x09").await.unwrap();
    let (_name, why) = listens.unreachable().await;
    assert!(why.contains("version 9"), "{why}");
    let mut told = Vec::new();
    newer.read_to_end(&mut told).await.unwrap();
    assert_eq!(told.len(), 26);
    assert_eq!(told.last(), Some(&1));
}

#[tokio::test]
async fn a_node_does_not_connect_to_itself() {
    let (tcp, address) = listening();
    let mut end = End::start(1, tcp.peer(address.clone()));
    let mut told = Vec::new();
    while !told.contains(&address) {
        let (name, why) = end.unreachable().await;
        assert!(why.contains("itself"), "{why}");
        told.push(name);
    }
}

#[tokio::test]
async fn bytes_that_are_no_frames_close_the_connection_and_others_go_on() {
    let (listens, address) = listening();
    let mut listens = End::start(1, listens);
    let mut bad = TcpStream::connect(address.as_str()).await.unwrap();
    bad.write_all(&[&b"tombolo\n\x01"[..], &[9; 16], &[0]].concat()).await.unwrap();
    let name = listens.up().await;
    let mut good = End::start(2, Tcp::dialling().peer(address));
    let caller = listens.up().await;
    bad.write_all(&[0xff; 10]).await.unwrap();
    let (down, why) = listens.down().await;
    assert_eq!(down, name);
    assert!(why.contains("above the limit"), "{why}");
    listens.send(&caller, vec![1]);
    assert_eq!(good.frame().await, [1]);
}

#[tokio::test]
async fn half_open_connections_are_limited_and_time_out() {
    let (listens, address) = listening();
    let limits = Limits { half_open: 2, preface_within: Duration::from_millis(300), ..Limits::default() };
    let mut listens = End::start(1, listens.limits(limits));
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(address.as_str()).await.unwrap());
    }
    let _peer = End::start(2, Tcp::dialling().peer(address));
    let (mut late, mut is_up) = (0, false);
    while late < 3 || !is_up {
        match listens.hear().await {
            FromLink::Unreachable { why, .. } => {
                assert!(why.contains("introduce itself"), "{why}");
                late += 1;
            }
            FromLink::Up { .. } => {
                assert!(late > 0, "it did not wait for its turn");
                is_up = true;
            }
            FromLink::Down { .. } | FromLink::Received { .. } | FromLink::Sent { .. } => {}
        }
    }
}

#[tokio::test]
async fn who_says_nothing_is_gone_and_who_has_nothing_to_say_is_not() {
    let (listens, address) = listening();
    let limits = Limits { keep_alive: Duration::from_millis(100), ..Limits::default() };
    let mut listens = End::start(1, listens.limits(limits.clone()));
    let mut mute = TcpStream::connect(address.as_str()).await.unwrap();
    mute.write_all(&[&b"tombolo\n\x01"[..], &[9; 16], &[0]].concat()).await.unwrap();
    let name = listens.up().await;
    let mut quiet = End::start(2, Tcp::dialling().limits(limits).peer(address));
    let caller = listens.up().await;
    let (down, why) = listens.down().await;
    assert_eq!(down, name);
    assert!(why.contains("nothing came for"), "{why}");
    // By then the other one has had as long.
    listens.send(&caller, vec![1]);
    assert_eq!(quiet.frame().await, [1]);
}

#[tokio::test]
async fn a_peer_that_is_removed_goes_and_one_that_is_added_comes() {
    let ((one, address_of_one), (other, address_of_other)) = (listening(), listening());
    let (mut one, mut other) = (End::start(1, one), End::start(2, other));
    let dials = Tcp::dialling().peer(address_of_one.clone());
    let handle = dials.handle();
    let mut dials = End::start(3, dials);
    assert_eq!(dials.up().await, address_of_one);
    one.up().await;
    handle.add_peer(address_of_other.clone());
    assert_eq!(dials.up().await, address_of_other);
    other.up().await;
    handle.remove_peer(address_of_one.clone());
    assert_eq!(dials.down().await.0, address_of_one);
    one.down().await;
}

//! What every transport must do, as functions that panic with the law that broke.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::link::Room;
use super::{Channel, FromLink, Link, PeerName, Port, Transport};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// After so long without a byte that leaves, nothing more is expected to.
const QUIET: Duration = Duration::from_millis(300);

/// What a node under test takes before it is behind.
const ROOM_BYTES: u32 = 1 << 20;

/// More than all the buffers of a way together.
const FLOOD_BYTES: u64 = 256 << 20;

/// Checks that a transport does what [`Transport`] says. `pair` gives two of them each time that are going to reach each other.
///
/// Covered: peers are announced before their frames, once each; frames of 0 bytes to 16 MiB arrive whole and unchanged, in order if
/// the transport says so; a node that is behind is waited for; one end that closes is seen at the other, after what was given out
/// before; shutting down passes on what was given out, ends `run`, and is seen at the other end. A transport without order may lose
/// frames: they are given out again. A few seconds.
///
/// # Panics
/// If a law breaks, with the law and what was seen instead. Outside a tokio runtime with its timer.
pub async fn conformance<T: Transport>(pair: impl Fn() -> (T, T)) {
    frames_arrive_whole(pair()).await;
    frames_arrive_in_order(pair()).await;
    a_node_that_is_behind_is_waited_for(pair()).await;
    closing_one_end_is_seen_at_the_other(pair()).await;
    shutting_down_ends_it(pair()).await;
}

async fn frames_arrive_whole<T: Transport>(pair: (T, T)) {
    let law = "frames arrive whole and unchanged";
    let (mut one, mut other) = meet(pair).await;
    for len in [0, 1, 63, 127, 128, 16_383, 16_384, 100_000, 1 << 20, 16 << 20] {
        let frame: Vec<u8> = (0_usize..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ len).to_le_bytes()[0]).collect();
        for _ in 0..2 {
            let heard = exchange(law, &mut one, &mut other, frame.clone()).await;
            assert!(heard == frame, "{law}: of {len} bytes {} came, or others", heard.len());
            std::mem::swap(&mut one, &mut other);
        }
    }
    one.is_clean(law);
    other.is_clean(law);
}

/// Gives a frame out, again if it may be lost, until it arrives. What came twice before it is passed over.
async fn exchange(law: &str, from: &mut End, to: &mut End, frame: Vec<u8>) -> Vec<u8> {
    let again = Duration::from_millis(200);
    let started = std::iter::repeat_n((), 100);
    for () in started {
        from.send(law, frame.clone()).await;
        // Without order, a frame may be held back until another one comes.
        let patience = if from.channel.is_ordered { DEADLINE } else { again };
        while let Ok(heard) = timeout(patience, to.frame(law)).await {
            if from.channel.is_ordered || heard == frame {
                return heard;
            }
        }
        assert!(!from.channel.is_ordered, "{law}: a frame of {} bytes did not arrive", frame.len());
    }
    broken(law, "a frame was given out a hundred times and did not arrive")
}

async fn frames_arrive_in_order<T: Transport>(pair: (T, T)) {
    let law = "what is ordered arrives once each, and in order";
    let (mut one, mut other) = meet(pair).await;
    if !one.channel.is_ordered {
        return;
    }
    let send = async {
        for number in 0_u32..5_000 {
            let mut frame = number.to_le_bytes().to_vec();
            frame.resize(4 + number as usize % 500, 0);
            one.send(law, frame).await;
        }
    };
    let take = async {
        for number in 0_u32..5_000 {
            let frame = other.frame(law).await;
            let heard = frame.first_chunk().copied().map(u32::from_le_bytes);
            assert!(heard == Some(number), "{law}: {heard:?} came in the place of {number}");
            assert!(frame.len() == 4 + number as usize % 500, "{law}: {number} has {} bytes", frame.len());
        }
    };
    tokio::join!(send, take);
}

async fn a_node_that_is_behind_is_waited_for<T: Transport>(pair: (T, T)) {
    let law = "a node that is behind is waited for";
    let (mut one, mut other) = meet(pair).await;
    let frame = vec![7; 1 << 16];
    let mut given = 0;
    while given < FLOOD_BYTES && timeout(QUIET, one.has_credit(law)).await.is_ok() {
        one.send(law, frame.clone()).await;
        given += frame.len() as u64;
        other.hear_what_is_there(law);
    }
    // Without order, what nobody takes may be lost instead; then no memory fills either.
    assert!(given < FLOOD_BYTES || !one.channel.is_ordered, "{law}: {given} bytes left, and nobody took them");
    let room = u64::from(ROOM_BYTES) + frame.len() as u64;
    let held: u64 = other.frames.iter().map(|(frame, _room)| frame.len() as u64).sum();
    assert!(held <= room, "{law}: {held} bytes were given to a node with room for {ROOM_BYTES}");
    if one.channel.is_ordered {
        for at in 0..given / frame.len() as u64 {
            assert!(other.frame(law).await == frame, "{law}: frame {at} changed while it waited");
        }
    }
    one.is_clean(law);
    other.is_clean(law);
}

async fn closing_one_end_is_seen_at_the_other<T: Transport>(pair: (T, T)) {
    let law = "closing one end is seen at the other, after what was given out before";
    let (mut one, mut other) = meet(pair).await;
    one.send(law, b"last words".to_vec()).await;
    one.close();
    if other.channel.is_ordered {
        assert!(other.frame(law).await == b"last words", "{law}: something else came");
    }
    other.peer_goes(law).await;
    other.is_clean(law);
}

async fn shutting_down_ends_it<T: Transport>(pair: (T, T)) {
    let law = "a node that shuts down ends `run`, after what was given out before";
    let (mut one, mut other) = meet(pair).await;
    one.send(law, b"goodbye".to_vec()).await;
    let ended = one.shut_down();
    if other.channel.is_ordered {
        assert!(other.frame(law).await == b"goodbye", "{law}: something else came");
    }
    other.peer_goes(law).await;
    ends(law, ended).await;
    other.is_clean(law);
    ends(law, other.shut_down()).await;
}

async fn ends(law: &str, run: JoinHandle<io::Result<()>>) {
    match timeout(DEADLINE, run).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => broken(law, &format!("it ended with an error: {error}")),
        Ok(Err(error)) => broken(law, &format!("it panicked: {error}")),
        Err(_late) => broken(law, "it goes on"),
    }
}

#[expect(clippy::panic, reason = "that is what a check is for")]
fn broken(law: &str, what: &str) -> ! {
    panic!("{law}: {what}")
}

/// A node that does nothing but what it is told.
struct End {
    port: Option<Port>,
    link: Link,
    heard: mpsc::UnboundedReceiver<FromLink>,
    run: Option<JoinHandle<io::Result<()>>>,
    /// The only peer, and the way to it.
    peer: Option<PeerName>,
    coming: u64,
    channel: Channel,
    credit: i64,
    /// What has come. It takes room until it is looked at.
    frames: VecDeque<(Vec<u8>, Room)>,
}

/// Both ends, once each sees the other.
async fn meet<T: Transport>((one, other): (T, T)) -> (End, End) {
    let law = "peers are announced";
    let (mut one, mut other) = (End::start(1, one), End::start(2, other));
    for end in [&mut one, &mut other] {
        while end.peer.is_none() {
            end.hear(law).await;
        }
    }
    // Two ways between the same two may have been found, and one given up.
    while let Ok(Some(what)) = timeout(QUIET, one.heard.recv()).await {
        one.take(law, what);
    }
    other.hear_what_is_there(law);
    for end in [&one, &other] {
        assert!(end.peer.is_some(), "{law}: the peer went by itself");
    }
    (one, other)
}

impl End {
    fn start<T: Transport>(id: u8, transport: T) -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        let (port, link) = Port::new([id; 16], ROOM_BYTES, move |what| tell.send(what).unwrap_or_default());
        let run = tokio::spawn(run(transport, link.clone()));
        Self {
            port: Some(port),
            link,
            heard,
            run: Some(run),
            peer: None,
            coming: 0,
            channel: Channel { is_ordered: false, window: 0 },
            credit: 0,
            frames: VecDeque::new(),
        }
    }

    fn take(&mut self, law: &str, what: FromLink) {
        match what {
            FromLink::Up { peer, coming, channel } => {
                assert!(self.peer.is_none(), "{law}: {peer} is up, and {:?} is still there", self.peer);
                (self.peer, self.coming, self.channel) = (Some(peer), coming, channel);
                self.credit = i64::try_from(channel.window).unwrap_or(i64::MAX);
            }
            FromLink::Down { peer, .. } => {
                assert!(self.peer.as_ref() == Some(&peer), "{law}: {peer} is down, and was not up");
                self.peer = None;
            }
            FromLink::Unreachable { .. } => {}
            FromLink::Received { peer, bytes, room } => {
                assert!(self.peer.as_ref() == Some(&peer), "{law}: a frame of {peer}, which is not up");
                self.frames.push_back((bytes, room));
            }
            FromLink::Sent { bytes, .. } => {
                self.credit = self.credit.saturating_add_unsigned(bytes);
                let window = i64::try_from(self.channel.window).unwrap_or(i64::MAX);
                assert!(self.credit <= window, "{law}: more bytes left than were given out");
            }
        }
    }

    async fn hear(&mut self, law: &str) {
        match timeout(DEADLINE, self.heard.recv()).await {
            Ok(Some(what)) => self.take(law, what),
            Ok(None) => broken(law, "the transport has ended"),
            Err(_late) => broken(law, "nothing happens"),
        }
    }

    fn hear_what_is_there(&mut self, law: &str) {
        while let Ok(what) = self.heard.try_recv() {
            self.take(law, what);
        }
    }

    async fn has_credit(&mut self, law: &str) {
        while self.credit <= 0 {
            self.hear(law).await;
        }
    }

    /// Gives a frame out, once the window lets it.
    async fn send(&mut self, law: &str, bytes: Vec<u8>) {
        self.has_credit(law).await;
        self.credit = self.credit.saturating_sub_unsigned(bytes.len() as u64);
        match (&self.port, &self.peer) {
            (Some(port), Some(peer)) => port.send(peer.clone(), self.coming, bytes),
            (_, _) => broken(law, "the peer went by itself"),
        }
    }

    async fn frame(&mut self, law: &str) -> Vec<u8> {
        loop {
            if let Some((frame, _room)) = self.frames.pop_front() {
                return frame;
            }
            match self.heard.recv().await {
                Some(what) => self.take(law, what),
                None => broken(law, "the transport has ended"),
            }
        }
    }

    async fn peer_goes(&mut self, law: &str) {
        self.frames.clear();
        while self.peer.is_some() {
            self.hear(law).await;
            self.frames.clear();
        }
    }

    fn close(&mut self) {
        if let (Some(port), Some(peer)) = (&self.port, self.peer.take()) {
            port.close(peer, self.coming);
        }
    }

    fn shut_down(&mut self) -> JoinHandle<io::Result<()>> {
        self.port = None;
        self.run.take().unwrap_or_else(|| tokio::spawn(async { Ok(()) }))
    }

    fn is_clean(&self, law: &str) {
        assert!(self.link.strays() == 0, "{law}: {} frames came of peers that were not up", self.link.strays());
    }
}

fn run<T: Transport>(transport: T, link: Link) -> impl Future<Output = io::Result<()>> + Send {
    transport.run(link)
}

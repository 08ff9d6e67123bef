//! Who is connected, and which of two connections to one node is kept.
//!
//! Of two connections between the same two nodes, the one is kept that the node of the smaller id has dialled. Both ends judge so, each as
//! soon as it knows the other's id, and again when it hears that it is welcome; so both keep the same one.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::preface::{NodeId, Verdict};
use crate::transport::PeerName;

/// What the tasks of one transport share.
pub(super) struct Registry {
    me: NodeId,
    connections_max: usize,
    state: Mutex<State>,
    /// A connection has ended.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    by_id: BTreeMap<NodeId, Entry>,
    /// Connections whose tasks have not ended, and to whom. There is none in `by_id` that is not here.
    names: BTreeMap<PeerName, NodeId>,
    /// Which node was met last at an address that is dialled.
    addresses: BTreeMap<PeerName, NodeId>,
    is_closed: bool,
}

/// A connection that is up.
#[derive(Debug)]
struct Entry {
    name: PeerName,
    is_dialled: bool,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    /// Dropped with the entry: the connection sends what it was given, and ends.
    _open: oneshot::Sender<()>,
}

/// The task's end of a connection that is up.
pub(super) struct Admitted {
    pub(super) name: PeerName,
    pub(super) frames: mpsc::UnboundedReceiver<Vec<u8>>,
    /// Ends when the connection is to be closed.
    pub(super) closing: oneshot::Receiver<()>,
}

impl Registry {
    pub(super) fn new(me: NodeId, connections_max: usize) -> Self {
        Self { me, connections_max, state: Mutex::default(), freed: Notify::new() }
    }

    pub(super) const fn me(&self) -> NodeId {
        self.me
    }

    /// What to say to a node that has just introduced itself. `dialled` is the address, if this end has dialled.
    pub(super) fn judge(&self, other: NodeId, dialled: Option<&PeerName>) -> Verdict {
        let mut state = self.state.lock();
        if let Some(address) = dialled {
            state.addresses.insert(address.clone(), other);
        }
        let verdict = self.verdict(&state, other, dialled.is_some());
        // It has come by itself before it was known which address it has. It comes again, under that name.
        if verdict == Verdict::AlreadyConnected
            && state.by_id.get(&other).is_some_and(|entry| !entry.is_dialled && !state.addresses.contains_key(&entry.name))
        {
            state.by_id.remove(&other);
        }
        verdict
    }

    fn verdict(&self, state: &State, other: NodeId, is_dialled: bool) -> Verdict {
        match state.by_id.get(&other) {
            _ if state.is_closed => Verdict::Full,
            None if state.by_id.len() >= self.connections_max => Verdict::Full,
            None => Verdict::Welcome,
            // Who has dialled twice knows better whether the first one is still there.
            Some(entry) if entry.is_dialled == is_dialled => {
                if is_dialled {
                    Verdict::AlreadyConnected
                } else {
                    Verdict::Welcome
                }
            }
            Some(_other_way) if is_dialled == (self.me < other) => Verdict::Welcome,
            Some(_other_way) => Verdict::AlreadyConnected,
        }
    }

    /// Registers a connection that both ends agree on, in the place of one that is given up for it. Waits until that
    /// one has ended, so that there is one at a time, and each name once. `None`: it is not wanted any more.
    pub(super) async fn admit(&self, other: NodeId, dialled: Option<&PeerName>, from: PeerName) -> Option<Admitted> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut state = self.state.lock();
                if self.verdict(&state, other, dialled.is_some()) != Verdict::Welcome {
                    return None;
                }
                let address = || state.addresses.iter().find(|(_address, id)| **id == other).map(|(address, _id)| address);
                let name = dialled.or_else(address).cloned().unwrap_or_else(|| from.clone());
                state.by_id.remove(&other);
                if !state.names.iter().any(|(taken, id)| *taken == name || *id == other) {
                    state.names.insert(name.clone(), other);
                    let (send, frames) = mpsc::unbounded_channel();
                    let (open, closing) = oneshot::channel();
                    let entry = Entry { name: name.clone(), is_dialled: dialled.is_some(), frames: send, _open: open };
                    state.by_id.insert(other, entry);
                    return Some(Admitted { name, frames, closing });
                }
            }
            freed.await;
        }
    }

    /// The task of a connection has ended.
    pub(super) fn ended(&self, other: NodeId, name: &PeerName) {
        let mut state = self.state.lock();
        if state.by_id.get(&other).is_some_and(|entry| entry.name == *name) {
            state.by_id.remove(&other);
        }
        state.names.remove(name);
        drop(state);
        self.freed.notify_waiters();
    }

    /// Gives a frame to a connection. One that is not there loses it.
    pub(super) fn send(&self, to: &PeerName, bytes: Vec<u8>) {
        let state = self.state.lock();
        if let Some(entry) = state.by_id.values().find(|entry| entry.name == *to) {
            entry.frames.send(bytes).ok();
        }
    }

    /// Lets a connection send what it was given, and end.
    pub(super) fn close(&self, name: &PeerName) {
        self.state.lock().by_id.retain(|_id, entry| entry.name != *name);
    }

    /// An address is not dialled any more.
    pub(super) fn forget(&self, address: &PeerName) {
        self.state.lock().addresses.remove(address);
        self.close(address);
    }

    /// Closes all connections, and takes no new ones.
    pub(super) fn close_all(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.by_id.clear();
    }

    /// Waits until no connection to the node at an address is left.
    pub(super) async fn alone(&self, address: &PeerName) {
        self.until(|state| state.addresses.get(address).is_none_or(|id| !state.by_id.contains_key(id))).await;
    }

    /// Waits until every connection has ended.
    pub(super) async fn empty(&self) {
        self.until(|state| state.names.is_empty()).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if holds(&self.state.lock()) {
                return;
            }
            freed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: NodeId = [1; 16];
    const LARGE: NodeId = [2; 16];

    fn name(name: &str) -> PeerName {
        name.into()
    }

    async fn admit(registry: &Registry, other: NodeId, dialled: Option<&str>) -> Option<Admitted> {
        let dialled = dialled.map(name);
        if registry.judge(other, dialled.as_ref()) != Verdict::Welcome {
            return None;
        }
        registry.admit(other, dialled.as_ref(), name("from")).await
    }

    /// A connection comes to an end that may have one already. Replaces it if the end does; says whether this end has dialled it.
    async fn comes(registry: &Registry, other: NodeId, dialled: bool, current: &mut Option<(Admitted, bool)>) {
        let address = name("address");
        let dialled_at = dialled.then_some(&address);
        if registry.judge(other, dialled_at) != Verdict::Welcome {
            return;
        }
        let gives_up = async {
            if let Some((current, _dialled)) = current.as_mut() {
                (&mut current.closing).await.unwrap_err();
                registry.ended(other, &current.name);
            }
            std::future::pending::<()>().await;
        };
        let new = tokio::select! {
            new = registry.admit(other, dialled_at, name("from")) => new,
            () = gives_up => None,
        };
        *current = new.map(|new| (new, dialled));
    }

    #[tokio::test]
    async fn of_two_connections_both_ends_keep_the_one_dialled_by_the_smaller_id() {
        for smaller_first_at in [[true, true], [true, false], [false, true], [false, false]] {
            for (me, other, smaller_first) in [(SMALL, LARGE, smaller_first_at[0]), (LARGE, SMALL, smaller_first_at[1])] {
                let registry = Registry::new(me, 9);
                // Both know where the other one is.
                assert_eq!(registry.judge(other, Some(&name("address"))), Verdict::Welcome);
                let mut kept = None;
                for by_smaller in [smaller_first, !smaller_first] {
                    comes(&registry, other, by_smaller == (me == SMALL), &mut kept).await;
                }
                assert_eq!(kept.unwrap().1, me == SMALL, "{smaller_first_at:?}");
            }
        }
    }

    #[tokio::test]
    async fn who_dials_twice_gives_up_the_first_and_who_was_not_asked_keeps_it() {
        let registry = Registry::new(SMALL, 9);
        let mut first = admit(&registry, LARGE, None).await.unwrap();
        registry.ended(LARGE, &name("nobody"));
        assert_eq!(registry.judge(LARGE, None), Verdict::Welcome);
        let second = async { registry.admit(LARGE, None, name("from")).await.unwrap() };
        let gives_up = async {
            assert!((&mut first.closing).await.is_err());
            registry.ended(LARGE, &first.name);
        };
        let (second, ()) = tokio::join!(second, gives_up);
        assert_eq!(second.name, name("from"));
        assert!(admit(&registry, [3; 16], Some("third")).await.is_some());
        assert!(admit(&registry, [3; 16], Some("third by another name")).await.is_none());
    }

    #[tokio::test]
    async fn who_came_by_itself_comes_again_under_the_address_that_it_is_dialled_at() {
        let registry = Registry::new(LARGE, 9);
        let mut first = admit(&registry, SMALL, None).await.unwrap();
        assert_eq!(registry.judge(SMALL, Some(&name("small"))), Verdict::AlreadyConnected);
        assert!((&mut first.closing).await.is_err());
        registry.ended(SMALL, &first.name);
        assert_eq!(admit(&registry, SMALL, None).await.unwrap().name, name("small"));
        assert_eq!(registry.judge(SMALL, Some(&name("small"))), Verdict::AlreadyConnected);
    }

    #[tokio::test]
    async fn more_connections_than_it_takes_are_refused() {
        let registry = Registry::new(SMALL, 1);
        let _first = admit(&registry, LARGE, None).await.unwrap();
        assert_eq!(registry.judge([3; 16], None), Verdict::Full);
    }
}

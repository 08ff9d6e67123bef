//! Who there is: the peers that are dialled, and those that have come.

use std::collections::BTreeMap;

use crate::replication::{Access, Moment, PeerId};
use crate::transport::PeerName;

/// Peers of different transports may have the same name.
pub(super) type Place = (usize, PeerName);

/// The transport that addresses are dialled with.
pub(super) const DIALLING: usize = 0;

/// What is known of a peer, over all its links.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The link; `None`: there is none.
    pub(super) link: Option<PeerId>,
    /// What the transport calls the link.
    pub(super) coming: u64,
    pub(super) is_dialled: bool,
    pub(super) access: Access,
    pub(super) last_contact: Option<Moment>,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
    pub(super) last_error: Option<String>,
}

/// All of them. One that is neither dialled nor up is forgotten, or strangers would fill the memory.
#[derive(Debug, Default)]
pub(super) struct Peers {
    records: BTreeMap<Place, Record>,
    links: BTreeMap<PeerId, Place>,
    last_link: u64,
}

impl Peers {
    /// An address is dialled from now on. Returns its link, if what is taken from it is another matter now.
    pub(super) fn know(&mut self, name: PeerName, access: Access) -> Option<PeerId> {
        let record = self.records.entry((DIALLING, name)).or_default();
        let has_changed = record.access != access;
        (record.is_dialled, record.access) = (true, access);
        record.link.filter(|_link| has_changed)
    }

    /// An address is dialled no more.
    #[cfg(feature = "tcp")]
    pub(super) fn forget(&mut self, name: PeerName) {
        let place = (DIALLING, name);
        if let Some(record) = self.records.get_mut(&place) {
            (record.is_dialled, record.access) = (false, Access::Full);
        }
        self.drop_if_idle(&place);
    }

    /// A peer is up: it gets a new link.
    pub(super) fn up(&mut self, place: Place, coming: u64) -> (PeerId, Access) {
        self.last_link += 1;
        let link = PeerId(self.last_link);
        let record = self.records.entry(place.clone()).or_default();
        record.coming = coming;
        if let Some(before) = record.link.replace(link) {
            self.links.remove(&before);
        }
        self.links.insert(link, place);
        (link, record.access)
    }

    /// A link is gone. Returns which one it was, if there was one.
    pub(super) fn down(&mut self, place: &Place, why: &str) -> Option<PeerId> {
        let record = self.records.get_mut(place)?;
        let link = record.link.take()?;
        record.last_error = Some(why.to_owned());
        self.links.remove(&link);
        self.drop_if_idle(place);
        Some(link)
    }

    /// A peer was not reached.
    pub(super) fn unreachable(&mut self, place: &Place, why: &str) {
        if let Some(record) = self.records.get_mut(place).filter(|record| record.link.is_none()) {
            record.last_error = Some(why.to_owned());
        }
    }

    /// The peer of a link.
    pub(super) fn place(&self, link: PeerId) -> Option<&Place> {
        self.links.get(&link)
    }

    /// The peer of a link, to count what goes over it.
    pub(super) fn of_link(&mut self, link: PeerId) -> Option<(&Place, &mut Record)> {
        let place = self.links.get(&link)?;
        Some((place, self.records.get_mut(place)?))
    }

    /// The peer of a place that is up, to count what comes from it.
    pub(super) fn up_at(&mut self, place: &Place) -> Option<(PeerId, &mut Record)> {
        let record = self.records.get_mut(place)?;
        Some((record.link?, record))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &Record)> {
        self.records.iter()
    }

    /// The places of a transport that are up.
    pub(super) fn up_of(&self, transport: usize) -> Vec<Place> {
        self.links.values().filter(|(of, _name)| *of == transport).cloned().collect()
    }

    fn drop_if_idle(&mut self, place: &Place) {
        if self.records.get(place).is_some_and(|record| !record.is_dialled && record.link.is_none()) {
            self.records.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_comes_back_has_a_new_link_and_its_counts() {
        let mut peers = Peers::default();
        let place = (DIALLING, PeerName::from("a"));
        assert_eq!(peers.know("a".into(), Access::Reader), None);
        let (first, access) = peers.up(place.clone(), 1);
        assert_eq!(access, Access::Reader);
        peers.of_link(first).unwrap().1.bytes_out += 5;
        assert_eq!(peers.down(&place, "gone"), Some(first));
        assert_eq!(peers.down(&place, "gone again"), None);
        let (second, _access) = peers.up(place, 2);
        assert_ne!(first, second);
        assert_eq!(peers.place(first), None);
        let (_place, record) = peers.of_link(second).unwrap();
        assert_eq!((record.bytes_out, record.last_error.as_deref()), (5, Some("gone")));
    }

    #[test]
    fn strangers_are_forgotten_when_they_go() {
        let mut peers = Peers::default();
        for stranger in 0..100 {
            let place = (1, PeerName::from(stranger.to_string()));
            peers.up(place.clone(), 1);
            peers.down(&place, "gone");
            peers.unreachable(&place, "refused");
        }
        assert_eq!(peers.iter().count(), 0);
        peers.know("a".into(), Access::Full);
        peers.forget("a".into());
        assert_eq!(peers.iter().count(), 0);
    }

    #[test]
    fn a_peer_that_becomes_a_reader_needs_another_link() {
        let mut peers = Peers::default();
        let (link, _access) = peers.up((DIALLING, "a".into()), 1);
        assert_eq!(peers.know("a".into(), Access::Full), None);
        assert_eq!(peers.know("a".into(), Access::Reader), Some(link));
    }
}

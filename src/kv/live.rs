//! Which events are live, told to a peer that is below the floor: as runs of numbers, and, where it has the same ones, as whole pages.
//!
//! ```text
//! peer, of version b                        here
//!    PULL b                 ──▶
//!                           ◀──   PAGES      fingerprints of what lives up to b, a page for each 1,024 events that do
//!    PULL b', pages         ──▶              its own fingerprints: of pages that are the same, and of parts of the others
//!                           ◀──   delta      lists what lives in pages that differ; of the others it says: as you have it
//! ```
//!
//! The state of a version is a function of it. So "as the state of b' has it" means the same to everyone who has b', and of what lives
//! there nothing new can live later: such a delta is as good for any store that has b', at any time, as one that lists everything.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Bound;

use crate::causal::{Page, Pages, ReplicaId};

use super::dots::DotSet;
use super::error::Result;
use super::identity::Sent;
use super::row::LocalDot;
use super::space::{View, decode_row};

/// How a delta tells what is live, if the peer is below the floor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listing<'a> {
    /// All of it.
    Whole,
    /// All of it, if that is short; otherwise pages of about so many live events are asked for.
    Short { page: usize },
    /// But for the pages that are the same here.
    Pages(&'a Pages),
}

/// The most pages that a store asks for. With them, the fingerprints of any store fit into a frame.
const PAGES_MAX: usize = 4_096;

/// How many parts a page that differs is cut into.
const PARTS: usize = 16;

/// A list of more than so many runs for each event of a page is long: 8,192 by default, about 16 KiB.
const SHORT: usize = 8;

/// Live events of one replica, by whatever number their owner uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveOf<'a> {
    pub(crate) live: &'a DotSet,
    pub(crate) key: u32,
    pub(crate) id: ReplicaId,
    /// Those up to here count.
    pub(crate) upto: u64,
}

impl LiveOf<'_> {
    fn seqs(&self) -> Peekable<impl Iterator<Item = u64>> {
        self.live.seqs(self.key).take_while(|seq| *seq <= self.upto).peekable()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        joined(self.seqs().map(|seq| (seq, seq)))
    }

    /// The same, with each page that has the same fingerprint here as one run. Cost: two looks at what is live, whatever the pages are.
    pub(crate) fn runs_but_for(&self, pages: &[Page]) -> impl Iterator<Item = (u64, u64)> {
        let mut first = 1;
        let mut parts: VecDeque<Part> = VecDeque::with_capacity(pages.len() + 1);
        for (page, here) in pages.iter().zip(self.sums(pages)) {
            let last = page.last.min(self.upto);
            let is_same = page.last <= self.upto && page.fingerprint == here.fingerprint;
            parts.push_back(Part { first, last, is_same });
            first = last.saturating_add(1);
        }
        parts.push_back(Part { first, last: self.upto, is_same: false });
        let mut seqs = self.seqs();
        joined(std::iter::from_fn(move || {
            while let Some(Part { first, last, is_same }) = parts.front().copied() {
                match seqs.next_if(|seq| *seq <= last) {
                    Some(seq) if !is_same => return Some((seq, seq)),
                    Some(_as_the_peer_has_it) => {}
                    None => {
                        parts.pop_front();
                        if is_same && first <= last {
                            return Some((first, last));
                        }
                    }
                }
            }
            None
        }))
    }

    /// Of each page, what is live in it here.
    fn sums(&self, pages: &[Page]) -> Vec<Sum> {
        let mut seqs = self.seqs();
        let sum = |page: &Page| {
            let mut sum = Sum { fingerprint: 0, count: 0 };
            while let Some(seq) = seqs.next_if(|seq| *seq <= page.last) {
                sum.fingerprint = sum.fingerprint.wrapping_add(Page::hash_of(self.id, seq));
                sum.count += 1;
            }
            sum
        };
        pages.iter().map(sum).collect()
    }

    /// Pages of so many live events each, up to `last`, with which the last one ends.
    fn cut(&self, seqs: &mut Peekable<impl Iterator<Item = u64>>, last: u64, per_page: usize, to: &mut Vec<Page>) {
        let (mut fingerprint, mut count, mut end) = (0_u64, 0, 0);
        while let Some(seq) = seqs.next_if(|seq| *seq <= last) {
            if count == per_page {
                to.push(Page { last: end, fingerprint });
                (fingerprint, count) = (0, 0);
            }
            fingerprint = fingerprint.wrapping_add(Page::hash_of(self.id, seq));
            (count, end) = (count + 1, seq);
        }
        to.push(Page { last, fingerprint });
    }

    /// For each of a peer's pages, up to `upto`: the page as it is here, or, if that is not the same, parts of it.
    fn answer_to(&self, theirs: &[Page], page: usize) -> Vec<Page> {
        let (mut seqs, mut before) = (self.seqs(), 0);
        let mut pages = Vec::with_capacity(theirs.len());
        for (their, here) in theirs.iter().zip(self.sums(theirs)) {
            let last = their.last.min(self.upto);
            if last <= before {
                break;
            }
            before = last;
            let is_same = last == their.last && here.fingerprint == their.fingerprint;
            let per_part = if is_same { usize::MAX } else { (page / PARTS).max(here.count / (4 * PARTS)).max(1) };
            self.cut(&mut seqs, last, per_part, &mut pages);
        }
        pages
    }
}

/// A page, as a list shows it.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: u64,
    last: u64,
    is_same: bool,
}

/// What is live in a page.
#[derive(Debug, Clone, Copy)]
struct Sum {
    fingerprint: u64,
    count: usize,
}

/// The events of all rows, each by what `place` makes of it. Memory: about a bit for each where numbers are dense, a hundred bytes where one
/// is alone.
pub(crate) fn of_rows(view: &View, place: impl Fn(LocalDot) -> Result<Option<(u32, u64)>>) -> Result<DotSet> {
    let mut live = DotSet::default();
    for row in view.read.range(view.tables.rows(), (Bound::Unbounded, Bound::Unbounded))? {
        let (_path, bytes) = row?;
        for dot in decode_row(&bytes)?.dots() {
            if let Some((key, seq)) = place(dot)? {
                live.insert(key, seq);
            }
        }
    }
    Ok(live)
}

/// All events that a store must learn the end of, by local index: those of its rows, and of the rows that it may go back to.
pub(crate) fn of_store(view: &View) -> Result<DotSet> {
    let mut live = of_rows(view, |dot| Ok(Some((dot.replica, dot.seq))))?;
    for row in view.read.range(view.tables.sent(), (Bound::Unbounded, Bound::Unbounded))? {
        let (_path, bytes) = row?;
        Sent::decode(&bytes)?.row.dots().for_each(|dot| {
            live.insert(dot.replica, dot.seq);
        });
    }
    Ok(live)
}

/// Pages over all of it, if the list is long.
pub(crate) fn pages_if_long<'a>(live: impl Iterator<Item = LiveOf<'a>> + Clone, page: usize) -> Option<Pages> {
    let long = page.saturating_mul(SHORT);
    if live.clone().map(|of| of.runs().take(long + 1).count()).sum::<usize>() <= long {
        return None;
    }
    let count: usize = live.clone().map(|of| of.seqs().count()).sum();
    let per_page = page.max(count / PAGES_MAX).max(1);
    let mut pages = Pages::default();
    for of in live.filter(|of| of.upto > 0) {
        let mut cut = Vec::new();
        of.cut(&mut of.seqs(), of.upto, per_page, &mut cut);
        let is_in_order = pages.push(of.id, cut);
        debug_assert!(is_in_order, "a page out of order");
    }
    Some(pages)
}

/// What to answer to a peer's pages; `None`: so much differs that a whole list is shorter.
pub(crate) fn answer_to<'a>(live: impl Iterator<Item = LiveOf<'a>>, theirs: &Pages, page: usize) -> Option<Pages> {
    /// What a page and a run take on the wire, about.
    const PAGE_BYTES: usize = 10;
    const RUN_BYTES: usize = 2;
    let (mut pages, mut runs) = (Pages::default(), 0);
    for of in live {
        let ours = of.answer_to(theirs.of(of.id), page);
        runs += of.runs().count();
        if !ours.is_empty() {
            let is_in_order = pages.push(of.id, ours);
            debug_assert!(is_in_order, "a page out of order");
        }
    }
    (pages.len() * PAGE_BYTES < runs * RUN_BYTES + theirs.len() * PAGE_BYTES).then_some(pages)
}

/// Makes one run of those that touch.
fn joined(runs: impl Iterator<Item = (u64, u64)>) -> impl Iterator<Item = (u64, u64)> {
    let mut runs = runs.peekable();
    std::iter::from_fn(move || {
        let (first, mut last) = runs.next()?;
        while let Some((_first, end)) = runs.next_if(|(next, _end)| Some(*next) == last.checked_add(1)) {
            last = end;
        }
        Some((first, last))
    })
}

#[cfg(feature = "replication")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::causal::VersionVector;
    use crate::kv::{Attached, Store};
    use crate::laws::Rng;
    use crate::replication::{Answered, Compared, Listing, Replica as _, Spool, Wanted};

    fn attached(store: &Store) -> Attached {
        store.attach(|| {})
    }

    fn write(store: &Store, rng: &mut Rng, times: u64) {
        for _ in 0..times {
            let key = rng.below(200);
            match rng.below(4) {
                0 => drop(store.delete(key).unwrap()),
                1 => store.counter(key).add(1).unwrap(),
                _ => store.register::<u64>(key).set(&rng.below(9)).unwrap(),
            }
        }
    }

    fn copy_of(store: &Store) -> Store {
        let copy = Store::in_memory();
        copy.merge(store.delta_since(&VersionVector::new()).unwrap()).unwrap();
        copy
    }

    fn answer(of: &Store, base: &VersionVector, listing: Listing<'_>) -> Result<Vec<u8>, Pages> {
        let mut spool = Spool::new(usize::MAX);
        match attached(of).answer(&Wanted { base, listing, all_points: false }, &mut spool).unwrap() {
            Answered::Written => Ok(spool.read_at(0, usize::MAX).unwrap()),
            Answered::Pages(pages) => Err(pages),
        }
    }

    /// What the peers agree on by pages does to any store of that version, and of a later one, what a whole list does.
    #[test]
    fn pages_do_what_a_list_of_everything_does() {
        let (mut paged, mut compared) = (0, 0);
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let (here, peer, third) = (Store::in_memory(), Store::in_memory(), Store::in_memory());
            for store in [&here, &peer, &third] {
                write(store, &mut rng, 150);
            }
            for (to, from) in [(&here, &third), (&here, &peer), (&peer, &here)] {
                to.merge(from.delta_since(&to.version().unwrap()).unwrap()).unwrap();
            }
            let times = rng.below(20);
            write(&here, &mut rng, times);
            if rng.chance(50) {
                write(&peer, &mut rng, times / 2);
            }
            here.forget_deletes(&here.version().unwrap()).unwrap();
            write(&third, &mut rng, 5);
            let later = copy_of(&peer);
            later.merge(third.delta_since(&later.version().unwrap()).unwrap()).unwrap();
            write(&later, &mut rng, 5);

            let base = peer.version().unwrap();
            let page = 1 + rng.index(3);
            let Err(pages) = answer(&here, &base, Listing::Short { page }) else { continue };
            paged += 1;
            // More may come before the answer, on both sides.
            write(&here, &mut rng, 3);
            here.forget_deletes(&here.version().unwrap()).unwrap();
            let Compared { base, pages } = attached(&peer).compare(&pages, page).unwrap();
            let Some(pages) = pages else { continue };
            compared += 1;
            let delta = answer(&here, &base, Listing::Pages(&pages)).unwrap();
            let whole = here.delta_since(&base).unwrap();
            write(&peer, &mut rng, 2);
            for store in [&peer, &copy_of(&peer), &later] {
                let expected = copy_of(store);
                expected.merge(whole.clone()).unwrap();
                store.merge(&delta).unwrap();
                assert_eq!(store.canonical().unwrap(), expected.canonical().unwrap(), "seed {seed}");
                store.check().unwrap();
            }
        }
        println!("{paged} of 400 asked for pages, {compared} compared them");
        assert!(paged > 200 && compared > 100);
    }

    #[test]
    fn what_does_not_differ_is_listed_as_pages() {
        let here = Store::in_memory();
        here.transact(|tx| (0..40_000_u64).try_for_each(|row| tx.register::<u64>(row).set(&row))).unwrap();
        // Every second number is dead: a list has a run for each.
        here.transact(|tx| (0..40_000_u64).step_by(2).try_for_each(|row| tx.register::<u64>(row).set(&1))).unwrap();
        let peer = copy_of(&here);
        here.transact(|tx| (0..40_000_u64).step_by(4_001).try_for_each(|row| tx.delete(row).map(drop))).unwrap();
        here.forget_deletes(&here.version().unwrap()).unwrap();
        let base = peer.version().unwrap();
        let pages = answer(&here, &base, Listing::Short { page: 1_024 }).unwrap_err();
        assert!((35..60).contains(&pages.len()), "{}", pages.len());
        let compared = attached(&peer).compare(&pages, 1_024).unwrap();
        let parts = compared.pages.unwrap();
        assert!(parts.len() < pages.len() + 10 * 20, "{}", parts.len());
        let delta = answer(&here, &compared.base, Listing::Pages(&parts)).unwrap();
        assert!(delta.len() < 2_000, "{} B", delta.len());
        assert!(here.delta_since(&base).unwrap().as_ref().len() > 20_000);
        peer.merge(delta).unwrap();
        assert_eq!(peer.canonical().unwrap(), here.canonical().unwrap());
        // A short list needs no pages, and one of which everything differs none either.
        assert!(answer(&here, &base, Listing::Short { page: 4_096 }).is_ok());
        let other = Store::in_memory();
        other.register::<u64>(0_u64).set(&1).unwrap();
        assert_eq!(attached(&other).compare(&pages, 1_024).unwrap().pages, Some(Pages::default()));
    }

    #[test]
    fn pages_of_anything_are_answered() {
        let here = Store::in_memory();
        here.transact(|tx| (0..100_u64).try_for_each(|row| tx.register::<u64>(row).set(&row))).unwrap();
        let me = here.version().unwrap().iter().next().unwrap().0;
        for last in [[1, 2], [50, u64::MAX >> 1], [100, 101], [200, 300]] {
            let mut pages = Pages::default();
            assert!(pages.push(me, last.map(|last| Page { last, fingerprint: 0 }).to_vec()));
            assert!(pages.push(ReplicaId::from_u128(u128::MAX), vec![Page { last: 9, fingerprint: 0 }]));
            let compared = attached(&here).compare(&pages, 0).unwrap();
            for pages in [Some(pages), compared.pages].into_iter().flatten() {
                here.forget_deletes(&here.version().unwrap()).unwrap();
                let base: VersionVector = [(me, 60)].into_iter().collect();
                let delta = answer(&here, &base, Listing::Pages(&pages)).unwrap();
                copy_of(&here).merge(delta).unwrap();
            }
        }
    }
}

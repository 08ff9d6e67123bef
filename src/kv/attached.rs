//! A store as the replication engine sees it.

use std::fmt;
use std::sync::Arc;

use crate::causal::{Pages, Transaction, VersionVector};
use crate::replication::{Answered, Applied, Compared, Fault, Joined, Listing, News, Replica, Spool, Summary, Wanted};

use super::digest::Digest;
use super::error::{Error, Result};
use super::extract::{self, PointsOf};
use super::feed::{Feed, FeedWaker};
use super::identity;
use super::live::{self, LiveOf};
use super::merge;
use super::push;
use super::space::Space;
#[cfg(test)]
use super::{
    dots::DotSet,
    mutant::{self, Mutant},
};

/// A store that an [`Engine`](crate::replication::Engine) replicates. From [`Store::attach`](super::Store::attach).
///
/// As long as there are peers that are pushed to, each transaction is noted as given away in its own commit.
pub struct Attached {
    space: Arc<Space>,
    feed: Feed,
    /// For a deliberate error.
    #[cfg(test)]
    live_before: Option<Arc<DotSet>>,
}

impl Attached {
    pub(crate) fn new(space: &Arc<Space>, wake: FeedWaker) -> Self {
        Self {
            space: Arc::clone(space),
            feed: Feed::new(space, wake),
            #[cfg(test)]
            live_before: None,
        }
    }
}

#[cfg(test)]
impl Attached {
    /// What was live when somebody below the floor was told first, and not what is live now.
    fn stale_if_planted(&mut self, live: DotSet) -> Arc<DotSet> {
        let live = Arc::new(live);
        if !mutant::is(Mutant::LiveFromStaleBase) {
            return live;
        }
        Arc::clone(self.live_before.get_or_insert(live))
    }
}

impl Replica for Attached {
    fn space(&self) -> [u8; 16] {
        self.space.id.to_bytes()
    }

    fn summary(&mut self) -> Result<Summary, Fault> {
        // It says what there is, and gives none of it away: a copy must find out that it is one before anything counts as that.
        let view = self.space.counted_view().map_err(fault)?;
        self.space.file.make_durable().map_err(fault)?;
        let meta = &view.meta;
        Ok(Summary {
            replica: self.space.own_id(meta),
            given_away: meta.emitted,
            version: meta.version(),
            version_digest: meta.version_digest(),
            state_digest: Digest::of(meta).to_bytes(),
        })
    }

    fn news(&mut self) -> Result<News, Fault> {
        self.space.file.refuse_if_closed().map_err(fault)?;
        let news = self.feed.take();
        Ok(News { transactions: news.transactions, moved: news.moved })
    }

    fn set_live(&mut self, is_live: bool) {
        self.feed.set_live(is_live);
    }

    fn hear_of(&mut self, version: &VersionVector) -> Result<(), Fault> {
        identity::hear_of(&self.space, version).map_err(fault)
    }

    fn answer(&mut self, wanted: &Wanted<'_>, to: &mut Spool) -> Result<Answered, Fault> {
        let Wanted { base, listing, all_points } = *wanted;
        let view = identity::view_to_emit(&self.space, base).map_err(fault)?;
        let memory = self.space.file.settings.delta_memory;
        let listing = match listing {
            Listing::Short { page } => live::Listing::Short { page },
            Listing::Pages(pages) => live::Listing::Pages(pages),
            Listing::Whole => live::Listing::Whole,
        };
        let points = if all_points { PointsOf::All } else { PointsOf::Base };
        match extract::write_answer(&view, self.space.id, base, listing, points, memory, to).map_err(fault)? {
            Ok(_written) => Ok(Answered::Written),
            Err(pages) => Ok(Answered::Pages(pages)),
        }
    }

    fn compare(&mut self, theirs: &Pages, page: usize) -> Result<Compared, Fault> {
        // As a summary does, it gives nothing away.
        let view = self.space.counted_view().map_err(fault)?;
        self.space.file.make_durable().map_err(fault)?;
        let live = live::of_store(&view).map_err(fault)?;
        #[cfg(test)]
        let live = self.stale_if_planted(live);
        let replicas = theirs.iter().filter_map(|(id, _pages)| {
            let key = view.meta.index(id)?;
            Some(LiveOf { live: &live, key, id, upto: view.meta.seq(key) })
        });
        Ok(Compared { base: view.meta.version(), pages: live::answer_to(replicas, theirs, page) })
    }

    fn merge(&mut self, from: &mut Spool) -> Result<Joined, Fault> {
        let from = from.reader().map_err(|error| Fault::Failed(error.to_string()))?;
        let merged = merge::merge_from(&self.space, from).map_err(fault)?;
        Ok(Joined { changed: merged.changed, sender: merged.sender })
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Applied, Fault> {
        Ok(match push::apply_transaction(&self.space, transaction).map_err(fault)? {
            push::Applied::Merged(_) => Applied::Merged,
            push::Applied::Covered => Applied::Covered,
            push::Applied::Waits { need } => Applied::Waits { need },
        })
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("space", &self.space.name).finish_non_exhaustive()
    }
}

/// Whose fault an error is.
fn fault(error: Error) -> Fault {
    match error {
        Error::Behind { .. } => Fault::Behind,
        Error::Malformed { what: push::DROPS_UNSEEN, .. } => Fault::Invalid(error.to_string()),
        Error::Malformed { .. } | Error::WrongSpace { .. } | Error::TooLarge { .. } => Fault::Malformed(error.to_string()),
        Error::ReadOnly | Error::Refused(_) | Error::WouldDeadlock => Fault::Refused(error.to_string()),
        Error::Decode { .. }
        | Error::Encode { .. }
        | Error::Corrupt { .. }
        | Error::Damaged { .. }
        | Error::NewerFormat { .. }
        | Error::Overflow { .. }
        | Error::Locked
        | Error::Closed
        | Error::SyncFailed { .. }
        | Error::Transfer { .. }
        | Error::Io(_) => Fault::Failed(error.to_string()),
    }
}

//! The plan: which stories a run tells, and who edits what.
//!
//! What a reader learns about the library: nothing. All of it follows from the seed and the names of the records, so that a run
//! can be had again.

use std::collections::BTreeSet;

use tombolo::sim::Rng;

use crate::catalogue::{Contents, Name};
use crate::control::Site;
use crate::review::{Edit, VIEWS};
use crate::stories::{Plot, Story};

/// Of a catalogue of any size, about this many records get a review.
const REVIEWS: usize = 250;
/// How many records a story of its own needs at least.
pub(crate) const RECORDS_MIN: usize = 24;
/// How many conflicts come to the ones that are shown off.
const CONFLICTS: usize = 120;
/// What each replica edits, and nobody else does: records that were there, and new ones.
const EDITS_ALONE: usize = 200;
const CREATED_ALONE: usize = 30;

/// Every how many-th record has a review.
pub(crate) fn review_every(records: usize) -> usize {
    (records / REVIEWS).max(1)
}

/// The stories of a run. No two are about one record.
pub(crate) fn stories(contents: &Contents, seed: u64) -> Vec<Story> {
    let mut rng = Rng::new(seed);
    let every = review_every(contents.names.len());
    let (mut reviewed, mut plain) = (Vec::new(), Vec::new());
    for (place, name) in contents.names.iter().enumerate() {
        if place.is_multiple_of(every) { reviewed.push(name.clone()) } else { plain.push(name.clone()) }
    }
    shuffle(&mut reviewed, &mut rng);
    shuffle(&mut plain, &mut rng);
    let mut planner =
        Planner { field: contents.text_field.clone(), taken: contents.names.iter().collect(), stories: Vec::new() };
    for plot in Plot::CONFLICTS {
        let record = if plot == Plot::CreatedTwice { None } else { reviewed.pop() };
        planner.tell(plot, record, Site::ALL, VIEWS);
    }
    for story in &mut planner.stories {
        story.showcase = true;
    }
    for _ in 0..CONFLICTS.min(reviewed.len() / 2) {
        let plot = rng.pick(&Plot::CONFLICTS).copied().unwrap_or(Plot::Written);
        let record = if plot == Plot::CreatedTwice { None } else { reviewed.pop() };
        planner.tell(plot, record, cast(&mut rng), VIEWS);
    }
    let mut rest: Vec<(Name, i64)> = plain.into_iter().map(|name| (name, 0)).collect();
    rest.extend(reviewed.into_iter().map(|name| (name, VIEWS)));
    for _ in 0..EDITS_ALONE.min(rest.len() / 3) {
        for site in Site::ALL {
            let plot = match rng.below(10) {
                0..5 => Plot::WrittenAlone,
                5 => Plot::TaggedAlone,
                6..8 => Plot::ViewedAlone,
                _two_of_ten => Plot::DeletedAlone,
            };
            if let Some((record, views)) = rest.pop() {
                planner.tell(plot, Some(record), [site; 3], views);
            }
        }
    }
    for _ in 0..CREATED_ALONE {
        for site in Site::ALL {
            planner.tell(Plot::CreatedAlone, None, [site; 3], 0);
        }
    }
    planner.stories
}

/// What a replica does while it is alone, in an order of its own.
pub(crate) fn edits_of(stories: &[Story], site: Site, seed: u64) -> Vec<Edit> {
    let all = stories.iter().flat_map(Story::edits);
    let mut edits: Vec<Edit> = all.filter(|(whose, _edit)| *whose == site).map(|(_site, edit)| edit).collect();
    shuffle(&mut edits, &mut Rng::new(seed ^ (site.index() as u64 + 1)));
    edits
}

struct Planner<'a> {
    field: String,
    taken: BTreeSet<&'a Name>,
    stories: Vec<Story>,
}

impl Planner<'_> {
    /// Without a record, of a new one.
    fn tell(&mut self, plot: Plot, record: Option<Name>, cast: [Site; 3], views: i64) {
        let field = self.field.clone();
        let record = record.unwrap_or_else(|| self.new_name());
        self.stories.push(Story { plot, record, field, showcase: false, cast, views });
    }

    fn new_name(&self) -> Name {
        let mut text = format!("new record {}", self.stories.len());
        while self.taken.contains(&Name::Text(text.clone())) {
            text.push('\'');
        }
        Name::Text(text)
    }
}

/// The three replicas in any order.
fn cast(rng: &mut Rng) -> [Site; 3] {
    let mut sites = Site::ALL;
    shuffle(&mut sites, rng);
    sites
}

/// Source: Durstenfeld, "Algorithm 235: Random permutation" (1964).
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.index(last + 1));
    }
}

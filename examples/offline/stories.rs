//! What happens while the replicas are apart, and what must come of it: one story for each record that somebody edits.
//!
//! What a reader learns: the rule by which each kind resolves a conflict, in words and as a check.

use std::collections::BTreeSet;

use crate::catalogue::Name;
use crate::control::Site;
use crate::review::{Change, Edit, IMPORTER, Reading};

/// A width and a height that belong together.
const SIZES: [(u64, u64); 2] = [(80, 25), (132, 43)];

/// What happens to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Plot {
    Written,
    Resized,
    Retagged,
    Starred,
    Vetoed,
    Viewed,
    ViewsReset,
    Signed,
    EditedWhileDeleted,
    ViewedWhileDeleted,
    DeletedTwice,
    CreatedTwice,
    // Only one replica does something; nobody is in its way.
    WrittenAlone,
    TaggedAlone,
    ViewedAlone,
    DeletedAlone,
    CreatedAlone,
}

impl Plot {
    /// The plots in which replicas are in each other's way.
    pub(crate) const CONFLICTS: [Self; 12] = [
        Self::Written,
        Self::Resized,
        Self::Retagged,
        Self::Starred,
        Self::Vetoed,
        Self::Viewed,
        Self::ViewsReset,
        Self::Signed,
        Self::EditedWhileDeleted,
        Self::ViewedWhileDeleted,
        Self::DeletedTwice,
        Self::CreatedTwice,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Written => "register: three writes",
            Self::Resized => "registers: two transactions",
            Self::Retagged => "set: add against remove",
            Self::Starred => "flag: on against off",
            Self::Vetoed => "veto flag: on against off",
            Self::Viewed => "counter: three adds",
            Self::ViewsReset => "counter: adds against reset",
            Self::Signed => "lattice: three joins",
            Self::EditedWhileDeleted => "map: delete against edit",
            Self::ViewedWhileDeleted => "map: delete against adds",
            Self::DeletedTwice => "map: deleted twice",
            Self::CreatedTwice => "map: created twice",
            Self::WrittenAlone => "text written",
            Self::TaggedAlone => "tag added",
            Self::ViewedAlone => "views added",
            Self::DeletedAlone => "record deleted",
            Self::CreatedAlone => "record created",
        }
    }
}

/// One record, what each replica does to it, and what must come of it.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) plot: Plot,
    pub(crate) record: Name,
    /// The register that is written.
    pub(crate) field: String,
    /// One of those that are always printed.
    pub(crate) showcase: bool,
    /// Who does what: the first does the first thing, and so on.
    pub(crate) cast: [Site; 3],
    /// The views before.
    pub(crate) views: i64,
}

impl Story {
    /// What each replica does, in the order of the cast.
    pub(crate) fn edits(&self) -> Vec<(Site, Edit)> {
        let [first, second, third] = self.cast;
        let write = |site: Site| Change::Write { field: self.field.clone(), text: text_by(site) };
        let resize = |(width, height)| Change::Resize { width, height };
        let view = |times| Change::View { times };
        let sign = |site: Site| Change::Sign { name: site.to_string() };
        let create = |field: &str, text: &str| Change::Create { field: field.to_owned(), text: text.to_owned() };
        let changes = match self.plot {
            Plot::Written => vec![(first, write(first)), (second, write(second)), (third, write(third))],
            Plot::Resized => vec![(first, resize(SIZES[0])), (second, resize(SIZES[1]))],
            Plot::Retagged => vec![(first, Change::Untag), (second, Change::Tag)],
            Plot::Starred => vec![(first, Change::Unstar), (second, Change::Star)],
            Plot::Vetoed => vec![(first, Change::Approve), (second, Change::Veto)],
            Plot::Viewed => vec![(first, view(1)), (second, view(2)), (third, view(3))],
            Plot::ViewsReset => vec![(first, Change::ResetViews), (second, view(3)), (third, view(4))],
            Plot::Signed => vec![(first, sign(first)), (second, sign(second)), (third, sign(third))],
            Plot::EditedWhileDeleted => vec![(first, Change::Delete), (second, write(second))],
            Plot::ViewedWhileDeleted => vec![(first, Change::Delete), (second, view(5)), (third, view(6))],
            Plot::DeletedTwice => vec![(first, Change::Delete), (second, Change::Delete)],
            Plot::CreatedTwice => vec![(first, create("left", "L")), (second, create("right", "R"))],
            Plot::WrittenAlone => vec![(first, write(first))],
            Plot::TaggedAlone => vec![(first, Change::Tag)],
            Plot::ViewedAlone => vec![(first, view(7))],
            Plot::DeletedAlone => vec![(first, Change::Delete)],
            Plot::CreatedAlone => vec![(first, create("left", "L"))],
        };
        changes.into_iter().map(|(site, change)| (site, Edit { record: self.record.clone(), change })).collect()
    }

    /// Whether the library must report a conflict: concurrent writes of which it can show only one.
    pub(crate) const fn is_reported(&self) -> bool {
        match self.plot {
            Plot::Written | Plot::Resized | Plot::Starred | Plot::Vetoed => true,
            Plot::Retagged
            | Plot::Viewed
            | Plot::ViewsReset
            | Plot::Signed
            | Plot::EditedWhileDeleted
            | Plot::ViewedWhileDeleted
            | Plot::DeletedTwice
            | Plot::CreatedTwice
            | Plot::WrittenAlone
            | Plot::TaggedAlone
            | Plot::ViewedAlone
            | Plot::DeletedAlone
            | Plot::CreatedAlone => false,
        }
    }

    /// How many records it adds to the catalogue, in the end.
    pub(crate) fn records_gained(&self) -> i64 {
        let created = matches!(self.plot, Plot::CreatedTwice | Plot::CreatedAlone);
        let deleted = matches!(self.plot, Plot::DeletedTwice | Plot::DeletedAlone);
        i64::from(created) - i64::from(deleted)
    }

    /// How it came out, in words.
    ///
    /// # Errors
    /// Not as it must.
    pub(crate) fn ending(&self, reading: &Reading) -> Result<String, String> {
        let [first, second, _third] = self.cast;
        let (right, words) = match self.plot {
            Plot::Written => self.latest(reading),
            Plot::WrittenAlone => (texts(reading) == [text_by(first)], text_by(first)),
            Plot::Resized => {
                let size = (reading.width.unwrap_or(0), reading.height.unwrap_or(0));
                (SIZES.contains(&size), format!("{} × {}: both of one transaction", size.0, size.1))
            }
            Plot::Retagged | Plot::TaggedAlone => (reading.tagged, "tagged: the add wins".to_owned()),
            Plot::Starred => (reading.starred, "starred: on wins".to_owned()),
            Plot::Vetoed => (!reading.approved, "not approved: off wins".to_owned()),
            Plot::Viewed => (reading.views == self.views + 6, format!("{} views: all adds count", reading.views)),
            Plot::ViewedAlone => (reading.views == self.views + 7, format!("{} views", reading.views)),
            Plot::ViewsReset => {
                let words = format!("{} views: the {} seen are cancelled, the new ones stay", reading.views, self.views);
                (reading.views == 3 + 4, words)
            }
            Plot::Signed => {
                let all = [IMPORTER.to_owned()].into_iter().chain(Site::ALL.map(|site| site.to_string())).collect();
                let names = reading.signed.iter().cloned().collect::<Vec<_>>();
                (reading.signed == all, format!("signed by {}", names.join(", ")))
            }
            Plot::EditedWhileDeleted => {
                let alone = reading.fields() == [self.field.as_str()] && texts(reading) == [text_by(second)];
                (alone, format!("the edited field {:?} survives, alone", self.field))
            }
            Plot::ViewedWhileDeleted => {
                let alone = reading.fields() == ["review"] && reading.views == 5 + 6;
                (alone, format!("only the {} new views survive", reading.views))
            }
            Plot::DeletedTwice | Plot::DeletedAlone => (reading.is_absent(), "gone, and does not come back".to_owned()),
            Plot::CreatedTwice => {
                let both = reading.fields() == ["left", "review", "right"] && reading.views == 2;
                (both, "one record, with the fields of both".to_owned())
            }
            Plot::CreatedAlone => (reading.fields() == ["left", "review"], "there".to_owned()),
        };
        if right { Ok(words) } else { Err(format!("{}: {reading:?}", self.plot.title())) }
    }

    /// All texts must be there, and the latest be shown.
    fn latest(&self, reading: &Reading) -> (bool, String) {
        let all: BTreeSet<String> = Site::ALL.map(text_by).into();
        let (shown, latest) = (
            reading.versions.iter().find(|version| version.shown),
            reading.versions.iter().max_by_key(|version| (version.time, version.writer)),
        );
        let right = shown == latest && texts(reading).into_iter().collect::<BTreeSet<_>>() == all;
        let shown = shown.map_or("nothing", |version| &version.text);
        (right, format!("{shown:?} is shown, the latest; the others are kept beside it"))
    }
}

fn text_by(site: Site) -> String {
    format!("{site}'s")
}

fn texts(reading: &Reading) -> Vec<String> {
    reading.versions.iter().map(|version| version.text.clone()).collect()
}

//! The review of a record: a nested map with a field of every kind, and what people do to it while they are apart.
//!
//! What a reader learns: how each kind is written and read through its handle, inside a map and inside a transaction.
//!
//! ```text
//! ("catalogue", name)  map
//!   …                              the fields of the file
//!   "review"           map
//!     "views"          counter     everybody adds
//!     "starred"        flag        on wins over off
//!     "approved"       veto flag   off wins over on
//!     "tags"           set         add wins over remove
//!     "signed"         lattice     a growing set: the type brings its own join
//!     "width" "height" registers   that only make sense together: one transaction writes both
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tombolo::causal::{Hlc, ReplicaId};
use tombolo::codec::key::KeyBuf;
use tombolo::kv::{Dynamic, Map};
use tombolo::{Store, Tx};

use crate::Result;
use crate::catalogue::{CATALOGUE, Name};

/// The views that a review begins with.
pub(crate) const VIEWS: i64 = 100;
/// The tag that a review begins with.
pub(crate) const TAG: &str = "new";
/// Who has signed a review at its beginning.
pub(crate) const IMPORTER: &str = "importer";

const REVIEW: &str = "review";

/// Begins the review of a record.
pub(crate) fn write(record: &Map<&Tx>) -> tombolo::Result<()> {
    let review = record.map(REVIEW);
    review.counter("views").add(VIEWS)?;
    review.flag("starred").enable()?;
    review.veto_flag("approved").enable()?;
    review.set::<String>("tags").insert(TAG)?;
    review.lattice::<BTreeSet<String>>("signed").join(&BTreeSet::from([IMPORTER.to_owned()]))
}

/// One thing that somebody does to a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Writes a register.
    Write {
        field: String,
        text: String,
    },
    /// Writes two registers that belong together.
    Resize {
        width: u64,
        height: u64,
    },
    Tag,
    Untag,
    Star,
    Unstar,
    Approve,
    Veto,
    View {
        times: i64,
    },
    /// Cancels the views seen so far.
    ResetViews,
    Sign {
        name: String,
    },
    /// Writes a record that is not there yet.
    Create {
        field: String,
        text: String,
    },
    /// Deletes the record, whatever is in it.
    Delete,
}

/// A change, and the record that it is made to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) record: Name,
    pub(crate) change: Change,
}

impl Edit {
    /// Makes the change, in a transaction of its own.
    pub(crate) fn apply(&self, store: &Store) -> tombolo::Result<()> {
        store.transact(|tx| self.write(tx))
    }

    fn write(&self, tx: &Tx) -> tombolo::Result<()> {
        let record = tx.map((CATALOGUE, &self.record));
        let review = record.map(REVIEW);
        match &self.change {
            Change::Write { field, text } => record.register::<String>(field).set(text),
            Change::Resize { width, height } => {
                review.register::<u64>("width").set(width)?;
                review.register::<u64>("height").set(height)
            }
            Change::Tag => review.set::<String>("tags").insert(TAG),
            Change::Untag => review.set::<String>("tags").remove(TAG),
            Change::Star => review.flag("starred").enable(),
            Change::Unstar => review.flag("starred").disable(),
            Change::Approve => review.veto_flag("approved").enable(),
            Change::Veto => review.veto_flag("approved").disable(),
            Change::View { times } => review.counter("views").add(*times),
            Change::ResetViews => review.counter("views").reset(),
            Change::Sign { name } => review.lattice("signed").join(&BTreeSet::from([name.clone()])),
            Change::Create { field, text } => {
                record.register::<String>(field).set(text)?;
                review.counter("views").add(1)
            }
            Change::Delete => tx.delete((CATALOGUE, &self.record)).map(drop),
        }
    }
}

/// One of the concurrent values of a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) text: String,
    pub(crate) writer: ReplicaId,
    pub(crate) time: Hlc,
    pub(crate) shown: bool,
}

/// What a replica reads of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Everything in it; null if it is not there.
    pub(crate) record: Dynamic,
    /// The values of the register asked for, the shown one first.
    pub(crate) versions: Vec<Version>,
    pub(crate) width: Option<u64>,
    pub(crate) height: Option<u64>,
    pub(crate) tagged: bool,
    pub(crate) starred: bool,
    pub(crate) approved: bool,
    pub(crate) views: i64,
    pub(crate) signed: BTreeSet<String>,
}

impl Reading {
    /// Reads a record, at one moment.
    pub(crate) fn of(store: &Store, name: &Name, field: &str) -> Result<Self> {
        let snapshot = store.snapshot()?;
        let key = KeyBuf::from_key((CATALOGUE, name));
        let first = snapshot.scan(&key).next().transpose()?.filter(|entry| *entry.key() == key);
        let record = snapshot.map((CATALOGUE, name));
        let review = record.map(REVIEW);
        let mut versions = Vec::new();
        for sibling in record.register::<Dynamic>(field).siblings()? {
            let (writer, time, shown) = (sibling.writer, sibling.time, sibling.wins);
            versions.push(Version { text: text(&sibling.value?), writer, time, shown });
        }
        Ok(Self {
            record: first.map_or(Ok(Dynamic::Null), |entry| entry.value())?,
            versions,
            width: review.register("width").get()?,
            height: review.register("height").get()?,
            tagged: review.set::<String>("tags").contains(TAG)?,
            starred: review.flag("starred").get()?,
            approved: review.veto_flag("approved").get()?,
            views: i64::try_from(review.counter("views").get()?)?,
            signed: review.lattice("signed").get()?,
        })
    }

    /// Whether nothing of the record is there.
    pub(crate) fn is_absent(&self) -> bool {
        self.record == Dynamic::Null
    }

    /// The fields that the record has; none if it is not there.
    pub(crate) fn fields(&self) -> Vec<String> {
        let Dynamic::Map(fields) = &self.record else { return Vec::new() };
        fields.iter().map(|(field, _value)| text(field)).collect()
    }
}

/// A text as it is, anything else as it prints.
fn text(value: &Dynamic) -> String {
    if let Dynamic::Text(text) = value { text.clone() } else { value.to_string() }
}

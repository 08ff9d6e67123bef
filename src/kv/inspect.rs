//! Inspect: everything under a key, down to the single entry, and why it is there.

use std::cmp::Ordering;
use std::fmt;

use crate::causal::{Dot, Hlc, ReplicaId};
use crate::codec::DecodeError;
use crate::codec::key::{Key, KeyBuf, KeyWriter};

use super::cursor::{Cursor, Range};
use super::dynamic::Dynamic;
use super::error::{Error, Result};
use super::kinds::counter::{self, Part, Reset};
use super::kinds::{decode_value, register, undecodable};
use super::path::{Leaf, Parsed, RESET, key_of};
use super::place::Place;
use super::place::sealed::Reads;
use super::row::{Entry, LocalDot, Row};
use super::row_path::RowPath;
use super::scan::dynamic_key;

/// Every entry under a key, of every kind, in the order of paths. It prints as a table.
///
/// From [`Store::inspect`](super::Store::inspect) and its like.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The key; of a field, relative to its map.
    pub key: KeyBuf,
    /// What is there: nothing, if the key is not.
    pub entries: Vec<Inspected>,
}

/// One entry: a write that is live.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspected {
    /// The row that it is in: key, kind, fields, element or contributor.
    pub path: RowPath,
    /// The event that wrote it; `None` if that is the transaction that is asked.
    pub dot: Option<Dot>,
    /// Who wrote it.
    pub writer: ReplicaId,
    /// When, by the writer's clock. Registers alone keep it.
    pub time: Option<Hlc>,
    /// What it holds: of a contributor to a counter what it is worth now, of a reset what it takes off; an error, if it cannot
    /// be read. It stays stored and is passed on all the same.
    pub value: Result<Dynamic>,
    /// Whether it counts in what a read shows.
    pub wins: bool,
    /// Why it does, or why it is still there if it does not: one sentence.
    pub why: String,
}

/// What is under a key; under a field, in the map at `base`.
pub(crate) fn inspect(place: &impl Reads, base: Result<&[u8]>, key: impl Key) -> Result<Inspection> {
    let base = base?;
    let mut to = KeyWriter::from_bytes(base);
    key.encode(&mut to);
    let at = to.as_slice();
    if at.len() == base.len() {
        return Err(Error::Refused("a key needs at least one part"));
    }
    let key = key_of(at.get(base.len()..).unwrap_or_default());
    let mut cursor = Cursor::new(place.pin()?, Range::key(at));
    let mut entries = Vec::new();
    while let Some((path, row)) = cursor.next()? {
        let leaf = Parsed::of(&path).map_err(Error::corrupt("ROWS"))?.leaf;
        let row = Told::of(&cursor.place, &path, leaf, &row)?;
        entries.extend(row.into_iter().map(|told| Inspected {
            path: RowPath::new(path.clone()),
            dot: (told.seq != LocalDot::PENDING.seq).then_some(Dot::new(told.writer, told.seq)),
            writer: told.writer,
            time: told.time,
            value: told.value,
            wins: told.wins,
            why: told.why,
        }));
    }
    Ok(Inspection { key, entries })
}

/// What is told of an entry.
struct Told {
    writer: ReplicaId,
    seq: u64,
    time: Option<Hlc>,
    value: Result<Dynamic>,
    wins: bool,
    why: String,
}

const ALONE: &str = "the only write that no later one has replaced or deleted";
const UNREADABLE: &str = "it cannot be read, and is kept and passed on as it is";

impl Told {
    /// The entries of a row, those that count first.
    fn of(place: &impl Place, path: &[u8], leaf: Leaf, row: &Row) -> Result<Vec<Self>> {
        let mut told = Vec::with_capacity(row.len());
        let mut tell = |entry: &Entry, time, value, wins, why: String| -> Result<()> {
            let (writer, seq) = (place.replica(entry.dot.replica)?, entry.dot.seq);
            told.push(Self { writer, seq, time, value, wins, why });
            Ok(())
        };
        match leaf {
            Leaf::Register => {
                let ranked = Ranked::of(row, |index| place.replica(index))?;
                for entry in &ranked {
                    let why = entry.why(&ranked);
                    tell(entry.entry, entry.time, register::value_of(path, entry.entry), entry.is_first(&ranked), why)?;
                }
                return Ok(told);
            }
            Leaf::Flag | Leaf::VetoFlag => {
                let winning = if leaf == Leaf::Flag { 1 } else { 0 };
                let decided = row.entries().iter().any(|entry| *entry.payload == [winning]);
                for entry in row.entries() {
                    let (value, wins) = match &*entry.payload {
                        [state @ (0 | 1)] => (Ok(Dynamic::Bool(*state == 1)), *state == winning || !decided),
                        _other => {
                            let source = DecodeError::new(0, "a flag that is neither 0 nor 1");
                            (Err(undecodable(path, source)), false)
                        }
                    };
                    let why = match (wins, &value) {
                        (_, Err(_)) => UNREADABLE,
                        (true, _) if row.len() == 1 => ALONE,
                        (true, _) if !decided => "no concurrent write says otherwise",
                        (true, _) if leaf == Leaf::Flag => "of concurrent writes, enable wins",
                        (true, _) => "of concurrent writes, disable wins",
                        (false, _) if leaf == Leaf::Flag => {
                            "kept until the next write: a concurrent one enables, and that wins"
                        }
                        (false, _) => "kept until the next write: a concurrent one disables, and that wins",
                    };
                    tell(entry, None, value, wins, why.to_owned())?;
                }
            }
            Leaf::Element => {
                let element = RowPath::new(bytes::Bytes::copy_from_slice(path)).element();
                let value = element.map_or(Dynamic::Null, |element| dynamic_key(&element));
                for entry in row.entries() {
                    let why = match row.len() {
                        1 => "in the set: an add that no remove has seen".to_owned(),
                        adds => format!("in the set: one of {adds} concurrent adds that no remove has seen"),
                    };
                    tell(entry, None, Ok(value.clone()), true, why)?;
                }
            }
            Leaf::Lattice => {
                for entry in row.entries() {
                    let why = match row.len() {
                        1 => ALONE.to_owned(),
                        of => format!("one of {of} concurrent values: a read joins them"),
                    };
                    tell(entry, None, decode_value(path, &entry.payload), true, why)?;
                }
            }
            Leaf::CounterPart(_contributor) => {
                let resets = place.row(&[path, &[RESET]].concat())?;
                for entry in row.entries() {
                    let counts = counter::last(row).is_some_and(|last| last.dot == entry.dot);
                    let (value, why) = tell_part(path, entry, &resets, counts);
                    tell(entry, None, value, counts, why)?;
                }
            }
            Leaf::CounterReset(_contributor) => {
                let parts = place.row(path.split_last().map_or(path, |(_reset, part)| part))?;
                for entry in row.entries() {
                    let (value, wins, why) = tell_reset(path, entry, row, &parts);
                    tell(entry, None, value, wins, why)?;
                }
            }
            Leaf::Seal(_) | Leaf::Unknown(_) => {
                for entry in row.entries() {
                    let why = "of a kind that this version does not know: kept and passed on as it is".to_owned();
                    tell(entry, None, Ok(Dynamic::Bytes(entry.payload.to_vec())), false, why)?;
                }
            }
        }
        // By what all stores have in common: indexes differ.
        told.sort_by_key(|told| (!told.wins, told.writer, told.seq));
        Ok(told)
    }
}

/// An entry of a register with what decides whether it is shown.
struct Ranked<'a> {
    time: Option<Hlc>,
    writer: ReplicaId,
    entry: &'a Entry,
}

impl<'a> Ranked<'a> {
    /// The shown one first.
    fn of(row: &'a Row, id: impl Fn(u32) -> Result<ReplicaId>) -> Result<Vec<Self>> {
        let mut ranked = Vec::with_capacity(row.len());
        for entry in row.entries() {
            let time = register::split(&entry.payload).map(|(stamp, _value)| stamp);
            ranked.push(Self { time, writer: id(entry.dot.replica)?, entry });
        }
        let shown = register::winner(row, id)?.map(|entry| entry.dot);
        ranked.sort_by(|a, b| {
            let by_rank = (b.time, b.writer, b.entry.dot.seq).cmp(&(a.time, a.writer, a.entry.dot.seq));
            (shown != Some(a.entry.dot)).cmp(&(shown != Some(b.entry.dot))).then(by_rank)
        });
        Ok(ranked)
    }

    fn is_first(&self, ranked: &[Self]) -> bool {
        ranked.first().is_some_and(|first| first.entry.dot == self.entry.dot)
    }

    fn why(&self, ranked: &[Self]) -> String {
        let [first, second, ..] = ranked else { return ALONE.to_owned() };
        if self.is_first(ranked) {
            let decides = match first.decided_by(second) {
                Decider::Time => "its time is the latest",
                Decider::Writer => "at equal times its writer's id is the highest",
                Decider::Number => "at equal times of one writer it is the last",
            };
            return format!("shown: none of the {} replaces another, and {decides}", ranked.len());
        }
        let decides = match first.decided_by(self) {
            Decider::Time => "its time is earlier",
            Decider::Writer => "at an equal time its writer's id is lower",
            Decider::Number => "at an equal time of the same writer it came before",
        };
        format!("kept until the next write: the shown one does not replace it, but {decides}")
    }

    fn decided_by(&self, other: &Self) -> Decider {
        match (self.time.cmp(&other.time), self.writer.cmp(&other.writer)) {
            (Ordering::Equal, Ordering::Equal) => Decider::Number,
            (Ordering::Equal, _) => Decider::Writer,
            (_, _) => Decider::Time,
        }
    }
}

enum Decider {
    Time,
    Writer,
    Number,
}

fn tell_part(path: &[u8], entry: &Entry, resets: &Row, counts: bool) -> (Result<Dynamic>, String) {
    let read = Part::decode(entry).and_then(|part| Ok(part.after(Reset::newest(resets, part.frame, entry.dot.seq)?)));
    let part = match read {
        Ok(part) => part,
        Err(error) => return (Err(undecodable(path, error)), UNREADABLE.to_owned()),
    };
    let why = if !counts {
        "does not count: a later entry of the same contributor does".to_owned()
    } else if part.base_seq == 0 {
        "counts: all that its contributor has added, in one entry".to_owned()
    } else {
        format!("counts: its contributor has added {}, of which deletes have cancelled {}", part.cum, part.base)
    };
    (Ok(Dynamic::Int(part.value())), why)
}

fn tell_reset(path: &[u8], entry: &Entry, resets: &Row, parts: &Row) -> (Result<Dynamic>, bool, String) {
    let reset = match Reset::decode(entry) {
        Ok(reset) => reset,
        Err(error) => return (Err(undecodable(path, error)), false, UNREADABLE.to_owned()),
    };
    let value = Ok(Dynamic::Int(-i128::from(reset.cum)));
    let part = counter::last(parts).and_then(|last| Some((Part::decode(last).ok()?, last.dot.seq)));
    let (wins, so) = match part {
        None => (false, "no part of the contributor is here, so it takes nothing off"),
        Some((part, _seq)) if part.frame != reset.frame => {
            (false, "the contributor has started over since, so it takes nothing off")
        }
        Some((part, _seq)) if part.base_seq >= reset.seq => (false, "the contributor has taken that into account already"),
        Some((part, seq)) if Reset::newest(resets, part.frame, seq).ok().flatten() != Some(reset) => {
            (false, "another reset of the same contributor counts instead")
        }
        Some(_) => (true, "so much of the part is cancelled, until the contributor adds and takes it into account"),
    };
    (value, wins, format!("a delete saw the contributor's entry {}, which held {}: {so}", reset.seq, reset.cum))
}

/// One line for each entry: `*` marks those that count.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return write!(f, "{}: nothing", self.key);
        }
        let lines: Vec<(String, String)> = self.entries.iter().map(|entry| (entry.shown_value(), entry.event())).collect();
        let width = |of: fn(&(String, String)) -> &String| lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0);
        let (values, events) = (width(|line| &line.0), width(|line| &line.1));
        let mut last = None;
        for (nth, (entry, (value, event))) in self.entries.iter().zip(&lines).enumerate() {
            if nth > 0 {
                f.write_str("\n")?;
            }
            if last != Some(&entry.path) {
                writeln!(f, "{}", entry.path)?;
                last = Some(&entry.path);
            }
            let mark = if entry.wins { '*' } else { ' ' };
            write!(f, "  {mark} {value:values$}  {event:events$}  {}", entry.why)?;
        }
        Ok(())
    }
}

impl Inspected {
    /// A value that fits a line.
    fn shown_value(&self) -> String {
        const SHOWN: usize = 40;
        let value = match &self.value {
            Ok(value) => value.to_string(),
            Err(_) => return "unreadable".to_owned(),
        };
        match value.char_indices().nth(SHOWN) {
            Some((end, _more)) => format!("{}…", value.get(..end).unwrap_or_default()),
            None => value,
        }
    }

    /// Who, which event, when.
    fn event(&self) -> String {
        let number = self.dot.map_or_else(|| "in this transaction".to_owned(), |dot| format!("event {}", dot.seq));
        let time = self.time.map_or_else(String::new, |time| format!(" at {}", utc(time)));
        format!("by {} {number}{time}", self.writer)
    }
}

/// A stamp as people read time, in UTC, with its count behind if it has one.
fn utc(stamp: Hlc) -> String {
    let (days, ms) = (stamp.ms() / 86_400_000, stamp.ms() % 86_400_000);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    // Years that begin in March end with the leap day: Hinnant, "chrono-compatible low-level date algorithms" (2014).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let count = stamp.to_bits() & 0xffff;
    let count = if count > 0 { format!("+{count}") } else { String::new() };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}{count}", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_print_as_dates() {
        let at = |ms, count| utc(Hlc::new(ms, count));
        assert_eq!(at(0, 0), "1970-01-01 00:00:00.000");
        assert_eq!(at(951_782_399_999, 0), "2000-02-28 23:59:59.999");
        assert_eq!(at(951_782_400_000, 7), "2000-02-29 00:00:00.000+7");
        assert_eq!(at(4_107_542_400_000, 0), "2100-03-01 00:00:00.000");
        assert_eq!(at(1_735_689_599_000, 0), "2024-12-31 23:59:59.000");
        assert_eq!(at(Hlc::MS_MAX, 0), "10889-08-02 05:31:50.655");
    }
}

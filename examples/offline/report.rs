//! What is printed: who held what, who edited what, how it came out, and what it cost.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::Result;
use crate::catalogue::Contents;
use crate::control::{Audit, Settled, Site, State};
use crate::load::Loaded;
use crate::replica::peak_memory_bytes;
use crate::review::Change;
use crate::stories::Story;

/// The width of the tables that wrap, in columns.
const WIDTH: u16 = 97;

/// How many conflicts are printed besides the ones shown off.
const CONFLICTS_MAX: usize = 20;

/// Two replicas that were linked, and what came of it.
#[derive(Debug)]
pub(crate) struct Meeting {
    pub(crate) caller: Site,
    pub(crate) listener: Site,
    /// These two, and those that were linked with them already.
    pub(crate) sides: Vec<(Site, Settled)>,
}

impl Meeting {
    fn bytes(&self) -> u64 {
        self.sides.iter().map(|(_site, side)| side.bytes_sent).sum()
    }
}

/// A story, and how it came out.
#[derive(Debug)]
pub(crate) struct Ending<'a> {
    pub(crate) story: &'a Story,
    pub(crate) words: String,
}

/// Prints what happens, as it happens.
pub(crate) struct Report<W> {
    to: W,
}

impl<W: Write> Report<W> {
    pub(crate) const fn new(to: W) -> Self {
        Self { to }
    }

    pub(crate) fn title(&mut self, data: &Path, contents: &Contents, made_up: usize, seed: u64) -> Result<()> {
        let file = data.file_name().map_or_else(|| data.to_string_lossy(), |name| name.to_string_lossy());
        writeln!(self.to, "Three replicas of {file}, {} records, seed {seed}", count(contents.names.len() as u64))?;
        writeln!(self.to, "They go offline, edit the same records, meet again, and must be equal then.")?;
        if contents.empty > 0 {
            writeln!(
                self.to,
                "({} more records of the file have no value: nothing is stored of them.)",
                count(contents.empty)
            )?;
        }
        if made_up > 0 {
            writeln!(self.to, "({made_up} of the records are made up, so that each conflict has one of its own.)")?;
        }
        Ok(())
    }

    pub(crate) fn processes(&mut self, processes: [(Site, u32, PathBuf); 3]) -> Result<()> {
        writeln!(self.to, "\n1. Loaded: three processes, each with a file of its own")?;
        for (site, id, store) in processes {
            writeln!(self.to, "   {site:<7} process {id:<8} {}", store.display())?;
        }
        Ok(self.to.flush()?)
    }

    pub(crate) fn loaded(&mut self, loaded: Loaded, seconds: f64) -> Result<()> {
        let [records, registers, flags, elements, reviews] =
            [loaded.records, loaded.registers, loaded.flags, loaded.elements, loaded.reviews].map(count);
        let (transactions, seconds) = (count(loaded.transactions), time(seconds));
        writeln!(self.to, "   The phone loads the catalogue: {records} records in {transactions} transactions, {seconds}")?;
        writeln!(
            self.to,
            "   as {registers} registers, {flags} flags and {elements} elements of sets; {reviews} records get a review,"
        )?;
        writeln!(
            self.to,
            "   which has a counter, a flag, a veto flag, a set and a lattice. The laptop and the tablet are empty."
        )?;
        Ok(self.to.flush()?)
    }

    pub(crate) fn meetings(&mut self, title: &str, meetings: &[Meeting]) -> Result<()> {
        writeln!(self.to, "\n{title}")?;
        let mut table = table(["link", "at the", "bytes sent", "records changed", "in conflict", "everything here after"]);
        for Meeting { caller, listener, sides } in meetings {
            for (place, (site, side)) in sides.iter().enumerate() {
                table.add_row([
                    if place == 0 { format!("{caller} — {listener}") } else { String::new() },
                    site.to_string(),
                    bytes(side.bytes_sent),
                    count(side.records_changed),
                    count(side.conflicts.len() as u64),
                    time(side.seconds),
                ]);
            }
        }
        self.table(&mut table, 2)
    }

    pub(crate) fn live(&mut self, times: u32, seconds: [f64; 3]) -> Result<()> {
        writeln!(
            self.to,
            "   Live: each writes {times} times, at the same time, and both others have each write on disk, and say so,"
        )?;
        let each = Site::ALL.iter().zip(seconds).map(|(site, seconds)| format!("{site} {}", time(seconds / f64::from(times))));
        writeln!(self.to, "   after (mean): {}", each.collect::<Vec<_>>().join(", "))?;
        Ok(self.to.flush()?)
    }

    /// What each replica held, from phase to phase.
    pub(crate) fn states(&mut self, phases: [&[State; 3]; 4]) -> Result<()> {
        writeln!(self.to, "\n5. What each held, from the beginning to the end")?;
        let mut table = table(["", "1. loaded", "2. shared", "3. alone", "4. healed"]);
        for site in Site::ALL {
            let cells = phases.map(|states| states.get(site.index()).map_or_else(String::new, held));
            table.add_row([site.to_string()].into_iter().chain(cells));
        }
        table.load_style(presets::UTF8_FULL);
        self.table(&mut table, 5)
    }

    pub(crate) fn apart(&mut self, edits: [usize; 3], seconds: [f64; 3]) -> Result<()> {
        writeln!(self.to, "\n3. Cut: no links any more, and each edits on, also what the others edit")?;
        for ((site, edits), seconds) in Site::ALL.iter().zip(edits).zip(seconds) {
            let each = time(seconds / edits.max(1) as f64);
            writeln!(self.to, "   {site:<7} {edits} edits, each a durable transaction, {each} each")?;
        }
        writeln!(self.to, "   Each waits for a peer that has them: there is none.")?;
        Ok(self.to.flush()?)
    }

    pub(crate) fn conflicts(&mut self, endings: &[Ending<'_>], reported: usize) -> Result<()> {
        let conflicts: Vec<_> = endings.iter().filter(|ending| ending.story.edits().len() > 1).collect();
        writeln!(self.to, "\n6. Conflicts: {} records that several replicas edited while they were apart", conflicts.len())?;
        let (showcases, others): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|ending| ending.story.showcase);
        let mut shown = table(["conflict, and record", "while apart", "on all three, in the end"]);
        for Ending { story, words } in showcases {
            let what = format!("{}\n{}", story.plot.title(), story.record);
            shown.add_row([what, while_apart(story, "\n"), words.clone()]);
        }
        shown.load_style(presets::UTF8_FULL);
        self.table(&mut shown, 3)?;
        if !others.is_empty() {
            let mut listed = table(["more of them", "while apart", "on all three, in the end"]);
            for Ending { story, words } in others.iter().take(CONFLICTS_MAX) {
                listed.add_row([story.record.to_string(), while_apart(story, ", "), words.clone()]);
            }
            self.table(&mut listed, 3)?;
        }
        if others.len() > CONFLICTS_MAX {
            let rest = count((others.len() - CONFLICTS_MAX) as u64);
            writeln!(self.to, "   … and {rest} more, which came out by the same rules.")?;
        }
        writeln!(
            self.to,
            "   In {reported} records, one of several concurrent writes had to be chosen. The watch of each told of exactly these."
        )?;
        Ok(self.to.flush()?)
    }

    pub(crate) fn costs(
        &mut self,
        shared: &[Meeting],
        healed: &[Meeting],
        audits: &[Audit; 3],
        elapsed: Duration,
    ) -> Result<()> {
        writeln!(self.to, "\n7. Costs")?;
        let memory = |bytes_max: Option<u64>| bytes_max.map_or_else(|| "not known here".to_owned(), bytes);
        let mut processes = table(["", "peak memory", "file", "check of the whole store"]);
        for (site, audit) in Site::ALL.iter().zip(audits) {
            let (peak, file) = (memory(audit.peak_memory_bytes), bytes(audit.file_bytes));
            processes.add_row([site.to_string(), peak, file, time(audit.check_seconds)]);
        }
        processes.add_row(["coordinator".to_owned(), memory(peak_memory_bytes()), String::new(), String::new()]);
        self.table(&mut processes, 1)?;

        let whole = audits.first().map_or(0, |audit| audit.whole_state_bytes);
        let (news, nothing) = healed.split_at(healed.len().saturating_sub(1));
        let mut wire = table(["on the wire, both ways", "links", "sent", "the whole state instead", ""]);
        for (what, meetings, ways) in [("share with the empty", shared, 1), ("heal", news, 2), ("nothing new", nothing, 2)] {
            let sent: u64 = meetings.iter().map(Meeting::bytes).sum();
            let instead = whole * meetings.len() as u64 * ways;
            let part = percent(sent as f64 / instead as f64);
            wire.add_row([what.to_owned(), meetings.len().to_string(), bytes(sent), bytes(instead), part]);
        }
        self.table(&mut wire, 1)?;
        writeln!(self.to, "   All of it took {:.1} s.", elapsed.as_secs_f64())?;
        Ok(())
    }

    pub(crate) fn kept(&mut self, folder: &Path) -> Result<()> {
        Ok(writeln!(self.to, "   The stores are kept in {}", folder.display())?)
    }

    pub(crate) fn verdict(&mut self, states: &[State; 3], stories: usize) -> Result<()> {
        writeln!(self.to)?;
        for (site, state) in Site::ALL.iter().zip(states) {
            writeln!(self.to, "   {site:<7} {}", state.digest)?;
        }
        let stories = count(stories as u64);
        writeln!(self.to, "Equal: one digest, the same bytes, and all {stories} edited records came out as they must.")?;
        Ok(self.to.flush()?)
    }

    /// Prints a table. The first `texts` columns are aligned to the left.
    fn table(&mut self, table: &mut Table, texts: usize) -> Result<()> {
        for column in table.column_iter_mut().skip(texts) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for line in table.lines() {
            writeln!(self.to, "   {line}")?;
        }
        Ok(self.to.flush()?)
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(header);
    table
}

/// Who did what.
fn while_apart(story: &Story, between: &str) -> String {
    let edits = story.edits().into_iter().map(|(site, edit)| format!("{site}: {}", done(&edit.change)));
    edits.collect::<Vec<_>>().join(between)
}

/// What a replica holds, in a few lines.
fn held(state: &State) -> String {
    if state.rows == 0 {
        return "nothing".to_owned();
    }
    let [records, rows, beside] = [state.records, state.rows, state.kept_beside].map(count);
    let beside = if state.kept_beside > 0 { format!("\n{beside} values kept beside") } else { String::new() };
    let digest: String = state.digest.chars().take(8).collect();
    format!("digest {digest}…\n{records} records\n{rows} rows{beside}")
}

/// What somebody did, in words.
fn done(change: &Change) -> String {
    match change {
        Change::Write { field, text } => format!("{field} = {text:?}"),
        Change::Resize { width, height } => format!("size = {width} × {height}"),
        Change::Tag => "add the tag".to_owned(),
        Change::Untag => "remove the tag".to_owned(),
        Change::Star => "star".to_owned(),
        Change::Unstar => "unstar".to_owned(),
        Change::Approve => "approve".to_owned(),
        Change::Veto => "veto".to_owned(),
        Change::View { times } => format!("views + {times}"),
        Change::ResetViews => "reset views".to_owned(),
        Change::Sign { name } => format!("sign as {name:?}"),
        Change::Create { field, text } => format!("create, {field} = {text:?}"),
        Change::Delete => "delete it".to_owned(),
    }
}

/// A number with its thousands apart.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes, kB or MB.
fn bytes(size: u64) -> String {
    match size {
        0..10_000 => format!("{} B", count(size)),
        10_000..10_000_000 => format!("{} kB", count(size / 1_000)),
        _larger => format!("{} MB", count(size / 1_000_000)),
    }
}

fn percent(part: f64) -> String {
    if part < 0.0005 { "below 0.1 %".to_owned() } else { format!("{:.1} %", 100.0 * part) }
}

/// A time in µs, ms or s.
fn time(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

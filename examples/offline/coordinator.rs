//! The plot: load, share, cut, edit, heal, compare.
//!
//! What a reader learns: which claims of the library this program checks. Any that does not hold ends it with an error.
//!
//! ```text
//!           load          share              cut               heal, in a random order
//!  phone    ████ ─────┐                 ─ edits ─ ───╳        ┌──── ? ────┐
//!  laptop         ◀───┴───┐             ─ edits ─ ───╳   ───▶ │ pairwise  │ ───▶  equal
//!  tablet             ◀───┘             ─ edits ─ ───╳        └──── ? ────┘
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tombolo::sim::Rng;

use crate::catalogue::{Contents, Name, Source};
use crate::control::{Answer, Audit, Command, Exchanged, Processes, Site, State, store_in};
use crate::link::now;
use crate::load::Loaded;
use crate::plan::{self, RECORDS_MIN};
use crate::report::{Ending, Meeting, Report};
use crate::review::{Edit, Reading};
use crate::stories::Story;
use crate::{Args, Result};

/// Runs it all, and prints what happens.
pub(crate) fn run(args: &Args) -> Result<()> {
    let started = now();
    let source = Source::open(args.data(), args.key.as_deref())?;
    let mut contents = Contents::of(&source)?;
    drop(source);
    let made_up = contents.make_up(RECORDS_MIN);
    let stories = plan::stories(&contents, args.seed);
    let folder = Folder::prepare(args.folder.as_deref())?;
    let mut report = Report::new(std::io::stdout().lock());
    report.title(args.data(), &contents, made_up.len(), args.seed)?;

    let mut run = Run { processes: Processes::start(folder.path())?, addresses: Vec::new(), rng: Rng::new(args.seed) };
    run.connect()?;
    report.processes(Site::ALL.map(|site| (site, run.processes.id(site), store_in(folder.path(), site))))?;

    // Load: one replica has everything, the others nothing.
    let (loaded, seconds) = run.load(args, &contents, made_up)?;
    report.loaded(loaded, seconds)?;
    let loaded = run.look()?;

    // Share: the laptop passes on to the tablet what it has from the phone.
    let mut shared = Vec::new();
    for (caller, listener) in [(Site::Phone, Site::Laptop), (Site::Laptop, Site::Tablet)] {
        shared.push(run.meet(caller, listener)?);
    }
    report.meetings("2. Shared: deltas over loopback TCP, from one to the next", &shared)?;
    let before = run.look()?;
    expect_equal(&before)?;

    // Cut: nobody hears of anybody.
    let unreachable = run.cut()?;
    let edits = Site::ALL.map(|site| plan::edits_of(&stories, site, args.seed));
    let counts = edits.each_ref().map(Vec::len);
    let seconds = run.edit(edits)?;
    let apart = run.look()?;
    report.apart(&unreachable, counts, seconds)?;

    // Heal: pairwise, in a random order, until all versions are equal.
    let healed = run.heal(&apart)?;
    let after = run.look()?;
    report.meetings("4. Healed: pairwise, in a random order, until all versions are equal", &healed)?;
    report.states([&loaded, &before, &apart, &after])?;

    // Compare.
    let mut endings = Vec::new();
    let read = run.read(&stories)?;
    for (story, readings) in stories.iter().zip(read) {
        endings.push(Ending { story, words: ending(story, &readings)? });
    }
    let reported = expect_reports(&stories, &healed)?;
    report.conflicts(&endings, reported)?;
    expect_records(&stories, &before, &after)?;
    let audits = run.audit()?;
    run.processes.end()?;
    report.costs(&shared, &healed, &audits, started.elapsed())?;
    if let Some(folder) = &args.folder {
        report.kept(folder)?;
    }
    expect_equal(&after)?;
    expect_same_bytes(&audits)?;
    report.verdict(&after, endings.len())
}

/// The replicas, and what the coordinator remembers of them.
struct Run {
    processes: Processes,
    addresses: Vec<SocketAddr>,
    rng: Rng,
}

/// An answer that belongs to another question: a bug of this program.
fn unexpected<T>(answer: &Answer) -> Result<T> {
    Err(format!("an answer to another question: {answer:?}").into())
}

impl Run {
    /// Tells all three the same, and waits for them.
    fn tell_all<T>(&mut self, command: impl Fn(Site) -> Command, of: impl Fn(Answer) -> Result<T>) -> Result<[T; 3]> {
        let answers = self.processes.tell(Site::ALL.map(|site| (site, command(site))), |_records| {})?;
        let taken = answers.into_iter().map(of).collect::<Result<Vec<T>>>()?;
        taken.try_into().map_err(|_other| "three answers are expected".into())
    }

    fn connect(&mut self) -> Result<()> {
        let addresses = self.tell_all(
            |_site| Command::Connect,
            |answer| if let Answer::Listening { address } = answer { Ok(address) } else { unexpected(&answer) },
        )?;
        self.addresses = addresses.to_vec();
        Ok(())
    }

    fn address(&self, site: Site) -> Result<SocketAddr> {
        Ok(*self.addresses.get(site.index()).ok_or("a replica without an address")?)
    }

    fn load(&mut self, args: &Args, contents: &Contents, made_up: Vec<Name>) -> Result<(Loaded, f64)> {
        let bar = bar(contents.names.len() as u64, "loading the phone");
        let command = Command::Load {
            data: fs::canonicalize(args.data())?,
            key: args.key.clone(),
            review_every: plan::review_every(contents.names.len()) as u64,
            made_up,
            text_field: contents.text_field.clone(),
        };
        let [answer] = self.processes.tell([(Site::Phone, command)], |records| bar.set_position(records))?;
        bar.finish_and_clear();
        if let Answer::Loaded { loaded, seconds } = answer { Ok((loaded, seconds)) } else { unexpected(&answer) }
    }

    /// Lets two replicas exchange what they have.
    fn meet(&mut self, caller: Site, listener: Site) -> Result<Meeting> {
        let address = self.address(listener)?;
        let spinner = bar(0, &format!("{caller} and {listener} exchange"));
        let answers =
            self.processes.tell([(listener, Command::TakeCall), (caller, Command::Call { address })], |_records| {})?;
        spinner.finish_and_clear();
        let [to, from] = answers.map(|answer| {
            if let Answer::Exchanged(exchanged) = answer { Ok(exchanged) } else { unexpected::<Exchanged>(&answer) }
        });
        Ok(Meeting { caller, listener, from: from?, to: to? })
    }

    fn look(&mut self) -> Result<[State; 3]> {
        self.tell_all(
            |_site| Command::Look,
            |answer| if let Answer::State(state) = answer { Ok(state) } else { unexpected(&answer) },
        )
    }

    /// Cuts all links, and lets one replica find out. Returns what it is told.
    fn cut(&mut self) -> Result<String> {
        self.tell_all(|_site| Command::Cut, |answer| if let Answer::Cut = answer { Ok(()) } else { unexpected(&answer) })?;
        let address = self.address(Site::Phone)?;
        let [answer] = self.processes.tell([(Site::Laptop, Command::Call { address })], |_records| {})?;
        if let Answer::Unreachable { why } = answer { Ok(why) } else { Err("a link that was cut carries calls".into()) }
    }

    fn edit(&mut self, edits: [Vec<Edit>; 3]) -> Result<[f64; 3]> {
        let spinner = bar(0, "each replica edits, alone");
        let seconds = self.tell_all(
            |site| Command::Edit { edits: edits.get(site.index()).cloned().unwrap_or_default() },
            |answer| if let Answer::Edited { seconds } = answer { Ok(seconds) } else { unexpected(&answer) },
        );
        spinner.finish_and_clear();
        seconds
    }

    /// Lets pairs meet in a random order, until all versions are equal; and one pair once more, which has nothing to say.
    fn heal(&mut self, apart: &[State; 3]) -> Result<Vec<Meeting>> {
        self.connect()?;
        let mut versions = apart.each_ref().map(|state| state.version.clone());
        let mut pairs = vec![(Site::Phone, Site::Laptop), (Site::Laptop, Site::Tablet), (Site::Tablet, Site::Phone)];
        pairs.extend(pairs.clone().into_iter().map(|(caller, listener)| (listener, caller)));
        let mut meetings = Vec::new();
        loop {
            let differ = |(a, b): &&(Site, Site)| versions.get(a.index()) != versions.get(b.index());
            let apart: Vec<_> = pairs.iter().filter(differ).copied().collect();
            let all_equal = apart.is_empty();
            let (caller, listener) = *self.rng.pick(if all_equal { &pairs } else { &apart }).ok_or("no pair")?;
            let meeting = self.meet(caller, listener)?;
            for (site, exchanged) in [(caller, &meeting.from), (listener, &meeting.to)] {
                if let Some(version) = versions.get_mut(site.index()) {
                    version.clone_from(&exchanged.version);
                }
            }
            meetings.push(meeting);
            if all_equal {
                return Ok(meetings);
            }
        }
    }

    /// What each of the three reads of each story's record.
    fn read(&mut self, stories: &[Story]) -> Result<Vec<[Reading; 3]>> {
        let names: Vec<Name> = stories.iter().map(|story| story.record.clone()).collect();
        let field = stories.first().map(|story| story.field.clone()).unwrap_or_default();
        let [phone, laptop, tablet] = self.tell_all(
            |_site| Command::Read { names: names.clone(), field: field.clone() },
            |answer| if let Answer::Readings { readings } = answer { Ok(readings) } else { unexpected(&answer) },
        )?;
        if [&phone, &laptop, &tablet].iter().any(|readings| readings.len() != names.len()) {
            return Err("a reading of each record is expected".into());
        }
        Ok(phone.into_iter().zip(laptop).zip(tablet).map(|((phone, laptop), tablet)| [phone, laptop, tablet]).collect())
    }

    fn audit(&mut self) -> Result<[Audit; 3]> {
        let spinner = bar(0, "each replica checks its store");
        let audits = self.tell_all(
            |_site| Command::Audit,
            |answer| if let Answer::Audited(audit) = answer { Ok(audit) } else { unexpected(&answer) },
        );
        spinner.finish_and_clear();
        audits
    }
}

/// How a story came out, if the replicas agree and it is as it must be.
fn ending(story: &Story, readings: &[Reading; 3]) -> Result<String> {
    let [first, rest @ ..] = readings;
    if rest.iter().any(|reading| reading != first) {
        return Err(format!("the replicas read different things of {}: {readings:?}", story.record).into());
    }
    Ok(story.ending(first)?)
}

/// The library must have reported exactly the conflicts of which it can show only one side, and to each replica: returns how
/// many that are.
fn expect_reports(stories: &[Story], healed: &[Meeting]) -> Result<usize> {
    let expected: BTreeSet<(&Name, &str)> =
        stories.iter().flat_map(|story| story.reported_fields().into_iter().map(|field| (&story.record, field))).collect();
    for site in Site::ALL {
        let sides = healed.iter().flat_map(|meeting| [(meeting.caller, &meeting.from), (meeting.listener, &meeting.to)]);
        let merges = sides.filter(|(whose, _side)| *whose == site);
        let reported: BTreeSet<(&Name, &str)> =
            merges.flat_map(|(_site, side)| side.conflicts.iter().map(|(name, field)| (name, field.as_str()))).collect();
        if reported != expected {
            let wrong = reported.symmetric_difference(&expected).collect::<Vec<_>>();
            return Err(format!("conflicts that the {site} was told of, or should have been: {wrong:?}").into());
        }
    }
    Ok(expected.len())
}

/// As many records as there were, and those that were created, without those that were deleted.
fn expect_records(stories: &[Story], before: &[State; 3], after: &[State; 3]) -> Result<()> {
    let gained: i64 = stories.iter().map(Story::records_gained).sum();
    for (before, after) in before.iter().zip(after) {
        if before.records.checked_add_signed(gained) != Some(after.records) {
            return Err(format!("{} records, where {} and {gained} are expected", after.records, before.records).into());
        }
    }
    Ok(())
}

fn expect_equal(states: &[State; 3]) -> Result<()> {
    let [first, rest @ ..] = states;
    let same = |state: &State| (state.records, &state.version, &state.digest) == (first.records, &first.version, &first.digest);
    if rest.iter().all(same) { Ok(()) } else { Err(format!("the replicas differ: {states:?}").into()) }
}

fn expect_same_bytes(audits: &[Audit; 3]) -> Result<()> {
    let [first, rest @ ..] = audits;
    let equal = rest.iter().all(|audit| audit.whole_state_hash == first.whole_state_hash);
    if equal { Ok(()) } else { Err("equal digests, but other bytes".into()) }
}

/// Where the stores are.
enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn prepare(kept: Option<&Path>) -> Result<Self> {
        let Some(folder) = kept else { return Ok(Self::Temporary(tempfile::tempdir()?)) };
        fs::create_dir_all(folder).map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        for site in Site::ALL {
            let store = store_in(folder, site);
            if store.exists() {
                return Err(format!("{} is there already: choose another folder", store.display()).into());
            }
        }
        Ok(Self::Kept(folder.to_owned()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(folder) => folder,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// A progress bar on the terminal; a spinner, if the length is 0. Nothing where there is no terminal.
fn bar(len: u64, what: &str) -> ProgressBar {
    let (bar, template) = if len > 0 {
        (ProgressBar::new(len), "   {msg} {bar:40} {human_pos} of {human_len} records")
    } else {
        (ProgressBar::new_spinner(), "   {spinner} {msg} ({elapsed})")
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

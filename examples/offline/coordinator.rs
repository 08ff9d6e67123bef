//! The plot: load, share, cut, edit, heal, write live, compare.
//!
//! What a reader learns: which claims of the library this program checks. Any that does not hold ends it with an error.
//!
//! ```text
//!           load          share              cut               heal: links come back in a random order
//!  phone    ████ ─────┐                 ─ edits ─ ───╳        ┌──── 2 ────┐
//!  laptop         ◀───┴───┐             ─ edits ─ ───╳   ───▶ │ 1         │ ───▶  equal, and live
//!  tablet             ◀───┘             ─ edits ─ ───╳        └──── 3 ────┘
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use tombolo::causal::VersionVector;
use tombolo::sim::Rng;

use crate::catalogue::{Contents, Name, Source};
use crate::control::{Answer, Audit, Command, Processes, Site, State, now, store_in};
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

    let processes = Processes::start(folder.path())?;
    let mut run = Run { processes, addresses: Vec::new(), links: Vec::new(), rng: Rng::new(args.seed) };
    run.listen()?;
    report.processes(Site::ALL.map(|site| (site, run.processes.id(site), store_in(folder.path(), site))))?;

    // Load: one replica has everything, the others nothing.
    let (loaded, seconds) = run.load(args, &contents, made_up)?;
    report.loaded(loaded, seconds)?;
    let loaded = run.look()?;

    // Share: the laptop passes on to the tablet what it has from the phone.
    let mut versions = loaded.each_ref().map(|state| state.version.clone());
    let mut shared = Vec::new();
    for (caller, listener) in [(Site::Phone, Site::Laptop), (Site::Laptop, Site::Tablet)] {
        shared.push(run.link(caller, listener, &mut versions)?);
    }
    report.meetings("2. Shared: nodes over loopback TCP, from one to the next", &shared)?;
    let before = run.look()?;
    expect_equal(&before)?;

    // Cut: nobody hears of anybody.
    run.cut()?;
    let edits = Site::ALL.map(|site| plan::edits_of(&stories, site, args.seed));
    let counts = edits.each_ref().map(Vec::len);
    let seconds = run.edit(edits)?;
    run.expect_alone()?;
    let apart = run.look()?;
    report.apart(counts, seconds)?;

    // Heal: the links come back one after the other, in a random order. What is new goes on over those that are there.
    let healed = run.heal(&apart)?;
    report
        .meetings("4. Healed: the links come back in a random order, and what is new goes on over those there are", &healed)?;
    report.live(LIVE_WRITES, run.write_live()?)?;
    let after = run.look()?;
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

/// How often each replica writes when all links are there.
const LIVE_WRITES: u32 = 50;

/// The replicas, and what the coordinator remembers of them.
struct Run {
    processes: Processes,
    addresses: Vec<SocketAddr>,
    /// Who is linked with whom.
    links: Vec<(Site, Site)>,
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

    fn listen(&mut self) -> Result<()> {
        let addresses = self.tell_all(
            |_site| Command::Listen,
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

    /// Links two replicas, and waits until all that are linked with them have what any of them has.
    fn link(&mut self, caller: Site, listener: Site, versions: &mut [VersionVector; 3]) -> Result<Meeting> {
        let address = self.address(listener)?;
        let spinner = bar(0, &format!("{caller} and {listener} are linked"));
        let [answer] = self.processes.tell([(caller, Command::Link { address })], |_records| {})?;
        let Answer::Linked = answer else { return unexpected(&answer) };
        self.links.push((caller, listener));
        // There are three: whoever is linked with anybody is linked with these, perhaps over another.
        let linked: BTreeSet<Site> = self.links.iter().flat_map(|(one, other)| [*one, *other]).collect();
        let mut all = VersionVector::new();
        for site in &linked {
            all.join(version_of(versions, *site)?);
        }
        for site in &linked {
            version_of(versions, *site)?.clone_from(&all);
        }
        let settle = |site: Site| {
            let links = self.links.iter().filter(|(one, other)| [one, other].contains(&&site)).count();
            (site, Command::Settle { version: all.clone(), links })
        };
        let commands: Vec<(Site, Command)> = linked.iter().copied().map(settle).collect();
        let answers = self.processes.tell_some(commands, |_records| {})?;
        spinner.finish_and_clear();
        let mut sides = Vec::new();
        for (site, answer) in linked.into_iter().zip(answers) {
            let Answer::Settled(settled) = answer else { return unexpected(&answer) };
            sides.push((site, settled));
        }
        Ok(Meeting { caller, listener, sides })
    }

    fn look(&mut self) -> Result<[State; 3]> {
        self.tell_all(
            |_site| Command::Look,
            |answer| if let Answer::State(state) = answer { Ok(state) } else { unexpected(&answer) },
        )
    }

    /// Cuts all links.
    fn cut(&mut self) -> Result<()> {
        self.links.clear();
        self.tell_all(|_site| Command::Cut, |answer| if let Answer::Cut = answer { Ok(()) } else { unexpected(&answer) })?;
        Ok(())
    }

    /// What is written while the links are cut stays where it is.
    fn expect_alone(&mut self) -> Result<()> {
        let of = |answer| if let Answer::Asked { somebody } = answer { Ok(somebody) } else { unexpected(&answer) };
        let heard = self.tell_all(|_site| Command::AskAround, of)?;
        if heard.contains(&true) { Err("a link that was cut carries writes".into()) } else { Ok(()) }
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

    /// Lets the links come back in a random order. With the second one all are equal; the third one has nothing to say.
    fn heal(&mut self, apart: &[State; 3]) -> Result<Vec<Meeting>> {
        let mut versions = apart.each_ref().map(|state| state.version.clone());
        let mut pairs = vec![(Site::Phone, Site::Laptop), (Site::Laptop, Site::Tablet), (Site::Tablet, Site::Phone)];
        let mut meetings = Vec::new();
        while !pairs.is_empty() {
            let (one, other) = pairs.swap_remove(self.rng.index(pairs.len()));
            let (caller, listener) = if self.rng.chance(50) { (one, other) } else { (other, one) };
            meetings.push(self.link(caller, listener, &mut versions)?);
        }
        Ok(meetings)
    }

    /// Each replica writes, and waits for the others after each write. Returns how long it took each.
    fn write_live(&mut self) -> Result<[f64; 3]> {
        let spinner = bar(0, "each replica writes, all links up");
        let seconds = self.tell_all(
            |_site| Command::WriteLive { times: LIVE_WRITES },
            |answer| if let Answer::Written { seconds } = answer { Ok(seconds) } else { unexpected(&answer) },
        );
        spinner.finish_and_clear();
        seconds
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

fn version_of(versions: &mut [VersionVector; 3], site: Site) -> Result<&mut VersionVector> {
    Ok(versions.get_mut(site.index()).ok_or("a replica without a version")?)
}

/// How a story came out, if the replicas agree and it is as it must be.
fn ending(story: &Story, readings: &[Reading; 3]) -> Result<String> {
    let [first, rest @ ..] = readings;
    if rest.iter().any(|reading| reading != first) {
        return Err(format!("the replicas read different things of {}: {readings:?}", story.record).into());
    }
    Ok(story.ending(first)?)
}

/// The library must have reported exactly the records of which it can show only one side, and at each replica: returns how many
/// that are.
fn expect_reports(stories: &[Story], healed: &[Meeting]) -> Result<usize> {
    let expected: BTreeSet<&Name> = stories.iter().filter(|story| story.is_reported()).map(|story| &story.record).collect();
    for site in Site::ALL {
        let sides = healed.iter().flat_map(|meeting| &meeting.sides).filter(|(whose, _side)| *whose == site);
        let reported: BTreeSet<&Name> = sides.flat_map(|(_site, side)| &side.conflicts).collect();
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

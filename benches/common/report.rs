//! The table: on the terminal, and as a document.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, process, thread};

use comfy_table::{CellAlignment, Table, presets};

use super::measure::Pair;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    AtMost(f64),
    AtLeast(f64),
    /// Nobody has promised anything.
    None,
}

#[derive(Debug)]
struct Line {
    what: String,
    ours: String,
    reference: String,
    ratio: String,
    budget: String,
    met: Option<bool>,
    because: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    parts: Vec<(&'static str, Vec<Line>)>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn part(&mut self, name: &'static str) {
        eprintln!("{name} …");
        self.parts.push((name, Vec::new()));
    }

    /// Two times, and what one may be of the other.
    pub(crate) fn times(&mut self, what: impl Into<String>, pair: Pair, budget: Budget) {
        self.ratio(what, &nanoseconds(pair.ours), &nanoseconds(pair.reference), pair.ratio, budget);
    }

    /// Two numbers with a unit.
    pub(crate) fn numbers(&mut self, what: impl Into<String>, (ours, reference): (f64, f64), unit: &str, budget: Budget) {
        let show = |number: f64| format!("{} {unit}", grouped(number));
        self.ratio(what, &show(ours), &show(reference), ours / reference, budget);
    }

    pub(crate) fn ratio(&mut self, what: impl Into<String>, ours: &str, reference: &str, ratio: f64, budget: Budget) {
        let shown = format!("{ratio:.2}");
        let limit = |limit: f64| format!("{limit}x");
        self.push(what.into(), ours, reference, shown, ratio, budget, limit);
    }

    /// One number that has a limit of its own.
    pub(crate) fn amount(&mut self, what: impl Into<String>, is: f64, unit: &str, reference: &str, budget: Budget) {
        let show = |number: f64| format!("{} {unit}", grouped(number));
        self.push(what.into(), &show(is), reference, String::new(), is, budget, show);
    }

    #[expect(clippy::too_many_arguments, reason = "a line of a table has so many cells")]
    fn push(
        &mut self,
        what: String,
        ours: &str,
        reference: &str,
        ratio: String,
        measured: f64,
        budget: Budget,
        limit: impl Fn(f64) -> String,
    ) {
        let (budget, met) = match budget {
            Budget::AtMost(most) => (format!("≤ {}", limit(most)), Some(measured <= most)),
            Budget::AtLeast(least) => (format!("≥ {}", limit(least)), Some(measured >= least)),
            Budget::None => (String::new(), None),
        };
        eprintln!("  {what}: {ours}, {reference}, {ratio} {budget}");
        let line = Line { what, ours: ours.to_owned(), reference: reference.to_owned(), ratio, budget, met, because: None };
        self.parts.last_mut().unwrap().1.push(line);
    }

    /// Why the last line misses its budget, should it.
    pub(crate) fn because(&mut self, reason: &'static str) {
        let line = self.parts.last_mut().and_then(|(_name, lines)| lines.last_mut());
        line.unwrap().because = Some(reason);
    }

    /// Something to know about the run.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub(crate) fn print(&self) {
        for (name, lines) in &self.parts {
            println!("\n{name}\n{}", table(lines));
        }
        self.notes.iter().for_each(|note| println!("{note}"));
    }

    /// Writes a file of `docs`: what it is about, then the tables.
    pub(crate) fn write(&self, file: &str, head: &str) {
        let mut to = String::from(head);
        writeln!(to, "\n{}\n", machine()).unwrap();
        for (name, lines) in &self.parts {
            let (first, rest) = name.split_at(1);
            writeln!(to, "## {}{rest}\n\n{}\n", first.to_uppercase(), table(lines)).unwrap();
        }
        let missed: Vec<&Line> =
            self.parts.iter().flat_map(|(_, lines)| lines).filter(|line| line.met == Some(false)).collect();
        writeln!(to, "## What is missed, and why\n").unwrap();
        for line in &missed {
            writeln!(
                to,
                "- **{}**: {} for {}. {}",
                line.what,
                or(&line.ratio, &line.ours),
                line.budget,
                line.because.unwrap_or("Not looked into.")
            )
            .unwrap();
        }
        if missed.is_empty() {
            writeln!(to, "Nothing.").unwrap();
        }
        if !self.notes.is_empty() {
            writeln!(to, "\n## Notes\n").unwrap();
            self.notes.iter().for_each(|note| writeln!(to, "- {note}").unwrap());
        }
        // As of this run: the project may have moved since it was compiled.
        let project = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_not_by_cargo| ".".to_owned());
        fs::write(Path::new(&project).join("docs").join(file), to).unwrap();
    }
}

fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["what", "ours", "reference", "ratio", "budget", ""]);
    for line in lines {
        let met = line.met.map_or("", |met| if met { "met" } else { "missed" });
        table.add_row([&line.what, &line.ours, &line.reference, &line.ratio, &line.budget, met]);
    }
    for column in 1..4 {
        table.column_mut(column).unwrap().set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What it was measured on. Nothing that names the machine.
pub(crate) fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let line = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpu = line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = line("/proc/meminfo", "MemTotal").and_then(|total| total.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.map_or_else(String::new, |kib| format!(", {} GiB of memory", kib >> 20));
    let rustc = process::Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let rustc = rustc.split(' ').take(2).collect::<Vec<_>>().join(" ");
    format!("Measured on {cores} cores ({cpu}, shared){memory}, {} {}, {}.", env::consts::OS, env::consts::ARCH, rustc.trim())
}

fn nanoseconds(number: f64) -> String {
    match number {
        ..1e4 => format!("{number:.0} ns"),
        1e4..1e7 => format!("{:.1} µs", number / 1e3),
        _ => format!("{:.1} ms", number / 1e6),
    }
}

pub(crate) fn grouped(number: f64) -> String {
    if number.abs() < 1.0 {
        return format!("{number:.2}");
    }
    if number.abs() < 100.0 && number.fract() != 0.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{:.0}", number);
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

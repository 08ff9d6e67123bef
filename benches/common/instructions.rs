//! Instructions, counted by callgrind in a process of its own: they are the same however busy the machine is.

use std::env;
use std::process::Command;

/// What to run in such a process, and how often.
const FLAG: &str = "--scenario";
const TIMES: &str = "--times";

pub(crate) const WITHOUT: &str = "Without valgrind there are no counts of instructions.";

pub(crate) fn can_count() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok()
}

/// The instructions of one operation of a scenario, which this program runs when it is started as told by [`asked`].
pub(crate) fn counted(scenario: &str, times: u32) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_section*"])
        .arg(env::current_exe().unwrap())
        .args([FLAG, scenario, TIMES, &times.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, collected) = collected.ok_or(&said).unwrap();
    collected.trim().parse::<f64>().unwrap() / f64::from(times)
}

/// The scenario that this process is to run, and how often.
pub(crate) fn asked(arguments: &[String]) -> Option<(&str, u32)> {
    let after = |flag: &str| arguments.iter().skip_while(|argument| *argument != flag).nth(1);
    Some((after(FLAG)?, after(TIMES)?.parse().unwrap()))
}

/// What callgrind counts.
#[inline(never)]
pub(crate) fn counted_section(body: &mut dyn FnMut()) {
    body();
}

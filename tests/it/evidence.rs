//! What was run, on which commit, when: for those who were not there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Writes a file of `docs/evidence/`: what is found in every one, and then `what`.
#[expect(clippy::disallowed_methods, reason = "the date of the evidence")]
pub(crate) fn write(file: &str, what: Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let mut evidence = json!({
        "commit": git(&["rev-parse", "HEAD"]),
        "uncommitted_changes": git(&["status", "--porcelain"]).map(|changes| !changes.is_empty()),
        "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    });
    let (Value::Object(all), Value::Object(what)) = (&mut evidence, what) else { panic!("evidence is an object") };
    all.extend(what);
    let folder = root.join("docs/evidence");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(file), serde_json::to_string_pretty(&evidence).unwrap() + "\n").unwrap();
}

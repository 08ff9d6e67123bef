//! Three replicas go offline, edit the same records, come back, and are equal.
//!
//! ```text
//! cargo run --release --example offline
//! cargo run --release --example offline -- --data cities.json --key name --seed 7 --folder /tmp/stores
//! ```
//!
//! One program, four processes: a coordinator, and three replicas which are this program again, each with a file of its own.
//!
//! | file | what a reader learns |
//! |---|---|
//! | `replica.rs` | what an application does with a store, a node and a watch |
//! | `catalogue.rs` | a key type of one's own; values without a type |
//! | `load.rs` | how data without a schema becomes handles; a bulk load |
//! | `review.rs` | writing and reading each kind |
//! | `stories.rs` | how each conflict must come out, in words and as a check |
//! | `plan.rs` | who edits what, from a seed |
//! | `coordinator.rs` | the plot: load, share, cut, edit, heal, write live, compare |
//! | `report.rs` | what is printed |
//! | `control.rs` | the processes |

mod catalogue;
mod control;
mod coordinator;
mod load;
mod plan;
mod replica;
mod report;
mod review;
mod stories;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use control::Site;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

const MEDIA_TYPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/media-types.json");

/// Three replicas go offline, edit the same records, come back, and are equal.
#[derive(Debug, Parser)]
#[command(name = "offline", disable_help_subcommand = true)]
pub(crate) struct Args {
    /// A JSON file of objects: { "name": { … }, … } or [ { … }, … ]; without it, 2,500 media types
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The field that names the objects of a list; without it, their place does
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Decides who edits what, and in which order the links come back
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    seed: u64,
    /// Where to keep the three stores; without it, they are deleted in the end
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

impl Args {
    pub(crate) fn data(&self) -> &Path {
        self.data.as_deref().unwrap_or_else(|| Path::new(MEDIA_TYPES))
    }
}

#[derive(Debug, Subcommand)]
enum Role {
    /// One of the three, started by the coordinator
    #[command(hide = true)]
    Replica { site: Site, store: PathBuf },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.role {
        Some(Role::Replica { store, .. }) => replica::run(store),
        None => coordinator::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_full(&*error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, as far as it does not name them itself.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string) {
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

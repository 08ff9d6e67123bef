//! Whole clusters over a simulated network: engines, links that lose, repeat, reorder and break, and the time between.

mod backups;
mod cluster;
mod counts;
mod histories;
mod ledger;
mod link;
mod network;
mod place;
mod scenario;
mod shrink;
#[cfg(test)]
mod tests;
mod world;

pub use cluster::{Cluster, ClusterFailure};
pub use counts::{NetCounts, SentCounts};
pub use link::Faults;
pub use network::{Happened, Network};
pub use scenario::{Deed, Scenario, ScenarioLink, ScenarioSettings, ScenarioStep};

//! A network of namespaces: each process has one, with an address of its own, and a link to a bridge.
//!
//! ```text
//!   namespace …-0           namespace …-hub             namespace …-1
//!   eth0 10.9.0.1 ◀──veth──▶ v0 ── bridge ── v1 ◀──veth──▶ eth0 10.9.0.2
//!     └ nftables: drops what comes in     └ tbf: slow, at both ends
//! ```
//!
//! It needs root, `ip`, `tc` and `nft`.

use std::ffi::OsString;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::cluster::Place;

/// Where the tests of the network must run, rather than say that they cannot.
const REQUIRED: &str = "TOMBOLO_NETWORK";

/// Its namespaces are removed when it is dropped.
pub(super) struct Network {
    name: String,
    count: usize,
}

impl Network {
    /// `None`: this machine cannot, and need not.
    pub(super) fn make(count: usize) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("tombolo-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let network = Self { name, count };
        match network.set_up() {
            Ok(()) => Some(network),
            Err(why) => {
                assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and there is no network: {why}");
                // Not `eprintln!`, which is shown only of tests that fail.
                let line = format!("NOT RUN, for want of network namespaces: {why}\n");
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                None
            }
        }
    }

    fn set_up(&self) -> Result<(), String> {
        let hub = self.hub();
        run(&format!("ip netns add {hub}"))?;
        run(&format!("ip -n {hub} link add bridge type bridge"))?;
        run(&format!("ip -n {hub} link set bridge up"))?;
        for place in 0..self.count {
            let space = self.space(place);
            run(&format!("ip netns add {space}"))?;
            run(&format!("ip -n {hub} link add v{place} type veth peer name eth0 netns {space}"))?;
            run(&format!("ip -n {hub} link set v{place} master bridge up"))?;
            run(&format!("ip -n {space} addr add {}/24 dev eth0", address(place)))?;
            run(&format!("ip -n {space} link set eth0 up"))?;
            run(&format!("ip -n {space} link set lo up"))?;
            self.filter(place, "add table inet faults")?;
            self.filter(place, "add chain inet faults in { type filter hook input priority 0 ; policy accept ; }")?;
        }
        Ok(())
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn space(&self, place: usize) -> String {
        format!("{}-{place}", self.name)
    }

    fn filter(&self, place: usize, what: &str) -> Result<String, String> {
        run(&format!("ip netns exec {} nft {what}", self.space(place)))
    }

    /// Where the processes run.
    pub(super) fn places(&self) -> Vec<Place> {
        let place = |place| Place {
            listen: format!("{}:4321", address(place)),
            within: ["ip", "netns", "exec", &self.space(place)].map(OsString::from).into(),
        };
        (0..self.count).map(place).collect()
    }

    /// The cable of a place is pulled, or put in again.
    pub(super) fn set_link(&self, place: usize, state: &str) {
        run(&format!("ip -n {} link set v{place} {state}", self.hub())).unwrap();
    }

    /// All cables are, at once.
    pub(super) fn set_bridge(&self, state: &str) {
        run(&format!("ip -n {} link set bridge {state}", self.hub())).unwrap();
    }

    /// A place gets nothing from another one, which gets everything from it.
    pub(super) fn deafen(&self, place: usize, to: usize) {
        self.filter(place, &format!("add rule inet faults in ip saddr {} counter drop", address(to))).unwrap();
    }

    /// Of the packets that come to any place, so many of a hundred are lost.
    pub(super) fn lose(&self, percent: u64) {
        for place in 0..self.count {
            self.filter(place, &format!("add rule inet faults in numgen random mod 100 < {percent} counter drop")).unwrap();
        }
    }

    /// How many packets to a place were lost since it was healed last.
    pub(super) fn lost(&self, place: usize) -> u64 {
        let rules = self.filter(place, "list chain inet faults in").unwrap();
        let counts = rules.split("counter packets ").skip(1);
        counts.map(|rest| rest.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// No packet is lost any more.
    pub(super) fn heal(&self) {
        (0..self.count).for_each(|place| drop(self.filter(place, "flush chain inet faults in").unwrap()));
    }

    /// The link of a place carries so many kilobits a second, each way.
    pub(super) fn slow_down(&self, place: usize, kilobits: u64) {
        let limit = format!("root tbf rate {kilobits}kbit burst 16kb latency 200ms");
        run(&format!("tc -n {} qdisc add dev v{place} {limit}", self.hub())).unwrap();
        run(&format!("tc -n {} qdisc add dev eth0 {limit}", self.space(place))).unwrap();
    }

    /// It is as fast as before.
    pub(super) fn speed_up(&self, place: usize) {
        run(&format!("tc -n {} qdisc del dev v{place} root", self.hub())).unwrap();
        run(&format!("tc -n {} qdisc del dev eth0 root", self.space(place))).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Those that were made. Their links go with them.
        for space in (0..self.count).map(|place| self.space(place)).chain([self.hub()]) {
            run(&format!("ip netns del {space}")).ok();
        }
    }
}

fn address(place: usize) -> String {
    format!("10.9.0.{}", place + 1)
}

/// Runs a program, and returns what it prints.
fn run(words: &str) -> Result<String, String> {
    let mut split = words.split(' ');
    let output = Command::new(split.next().unwrap()).args(split).output();
    let output = output.map_err(|error| format!("{words}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{words}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}

//! A transport of your own: a folder of files, as a share or a stick is. Store and forward: no two of the replicas run at the same time.
//!
//! ```console
//! cargo run --example custom_transport
//! ```
//!
//! Each turn one of three devices comes home, reads its mailbox, answers, writes something new, and leaves. After a few rounds all hold the same.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tombolo::Store;
use tombolo::node::Node;
use tombolo::replication::Config;
use tombolo::transport::{Channel, Link, Outgoing, PeerName, Transport};

const DEVICES: [&str; 3] = ["laptop", "phone", "tablet"];

/// A folder with a mailbox for each device. Every frame is a file in the mailbox of the one that it is for.
struct Mailboxes {
    folder: PathBuf,
    me: &'static str,
}

impl Mailboxes {
    /// Writes a letter under another name first, so that nobody reads half of it.
    fn post(&self, to: &str, number: u64, letter: &[u8]) -> io::Result<()> {
        let mailbox = self.folder.join(to);
        let name = format!("{}.{:032x}", self.me, u128::from(number) | self.turn()? << 64);
        fs::write(mailbox.join(format!("{name}.part")), letter)?;
        fs::rename(mailbox.join(format!("{name}.part")), mailbox.join(name))
    }

    /// A number that no earlier run of this device has used: how often it was home.
    fn turn(&self) -> io::Result<u128> {
        Ok(fs::read_to_string(self.folder.join(format!("{}.turn", self.me)))?.len() as u128)
    }

    /// The letters that are there, in order of their names, with who has sent them.
    fn letters(&self) -> io::Result<Vec<(PeerName, PathBuf)>> {
        let mut letters = Vec::new();
        for entry in fs::read_dir(self.folder.join(self.me))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some((from, _number)) = name.split_once('.').filter(|(_from, rest)| !rest.ends_with(".part")) {
                letters.push((PeerName::from(from), path.clone()));
            }
        }
        letters.sort();
        Ok(letters)
    }
}

impl Transport for Mailboxes {
    async fn run(self, link: Link) -> io::Result<()> {
        // A letter may take weeks, and letters may overtake each other: each must stand alone.
        let channel = Channel { is_ordered: false, window: 64 << 20 };
        for peer in DEVICES.iter().filter(|device| **device != self.me) {
            link.up(PeerName::from(peer), channel);
        }
        let mut number = 0;
        loop {
            for (from, path) in self.letters()? {
                link.received(&from, fs::read(&path)?).await;
                fs::remove_file(path)?;
            }
            let outgoing = tokio::time::timeout(Duration::from_millis(20), link.outgoing()).await;
            match outgoing {
                // Nothing to send: look into the mailbox again.
                Err(_elapsed) => {}
                Ok(None) => return Ok(()),
                Ok(Some(Outgoing::Frame { to, bytes })) => {
                    number += 1;
                    self.post(to.as_str(), number, &bytes)?;
                    link.sent(&to, bytes.len() as u64);
                }
                Ok(Some(Outgoing::Close { .. })) => {}
            }
        }
    }
}

/// A device comes home, reads and answers its letters, notes something, and leaves again.
async fn come_home(folder: &Path, me: &'static str, note: &str) -> Result<Store, Box<dyn Error>> {
    let store = Store::open(folder.join(format!("{me}.tombolo")))?;
    let turn = folder.join(format!("{me}.turn"));
    let turns = fs::read_to_string(&turn).unwrap_or_default();
    fs::write(&turn, turns + "|")?;
    let mut config = Config::default();
    // A letter can be long, and an answer is best in one.
    config.frame_bytes = 8 << 20;
    let node =
        Node::builder(store.clone()).transport(Mailboxes { folder: folder.to_owned(), me }).config(config).start().await?;
    if !note.is_empty() {
        store.set::<String>("notes").insert(note)?;
    }
    // Long enough to read what is there and to answer it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    node.shutdown().await?;
    Ok(store)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    for device in DEVICES {
        fs::create_dir(folder.path().join(device))?;
    }
    let mut notes = ["buy bread", "call Ada", "mend the bike", "", "", "", "", "", ""].iter();
    for round in 1..=6 {
        let mut digests = Vec::new();
        for device in DEVICES {
            let note = notes.next().copied().unwrap_or_default();
            let store = come_home(folder.path(), device, note).await?;
            let notes: Vec<String> = store.set::<String>("notes").iter()?.collect::<Result<_, _>>()?;
            println!("round {round}: the {device} has {notes:?}");
            digests.push(store.digest()?);
        }
        if round > 1 && digests.iter().all(|digest| Some(digest) == digests.first()) {
            println!("all the same, and no two of them were ever home together");
            return Ok(());
        }
    }
    Err("the mailboxes did not bring the devices together".into())
}

//! The one file that reads the wall clock, randomness and the identity of a file. All of it behind traits, so that tests and
//! simulations bring their own.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since 1970. May jump, stand still or be wrong: a wrong clock costs no data, it only loses or wins among
    /// concurrent writes to a register.
    fn now_ms(&self) -> u64;
}

/// Gives random bytes.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills `to` with bytes that nobody else gets.
    ///
    /// # Errors
    /// What the system says.
    fn fill(&self, to: &mut [u8]) -> io::Result<()>;
}

/// The wall clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the wall clock enters")]
    fn now_ms(&self) -> u64 {
        // A clock before 1970 reads as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The random source of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, to: &mut [u8]) -> io::Result<()> {
        getrandom::fill(to).map_err(io::Error::other)
    }
}

/// Which file this is: equal for one file that was opened twice, different for a copy. A hint, never proof: a file system
/// may use an inode again, and two machines may share an id. The device number is no part of it, since it changes at boot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The id of the machine, where the system has one.
    pub machine: Option<String>,
    /// The number of the file in its file system, where the system has one.
    pub inode: Option<u64>,
}

/// Tells which file this is.
pub trait Files: Debug + Send + Sync + 'static {
    /// The identity of the file at `path`.
    ///
    /// # Errors
    /// The file cannot be looked at.
    fn identity(&self, path: &Path) -> io::Result<FileIdentity>;
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemFiles;

impl Files for SystemFiles {
    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        let metadata = std::fs::metadata(path)?;
        #[cfg(unix)]
        let inode = Some(std::os::unix::fs::MetadataExt::ino(&metadata));
        #[cfg(not(unix))]
        let inode = {
            drop(metadata);
            None
        };
        // The systemd machine id; other systems have none that can be read without a library.
        let machine = std::fs::read_to_string("/etc/machine-id").ok().map(|id| id.trim().to_owned());
        Ok(FileIdentity { machine, inode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        let (mut a, mut b) = ([0; 16], [0; 16]);
        SystemEntropy.fill(&mut a).unwrap();
        SystemEntropy.fill(&mut b).unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn the_clock_stands_after_2020() {
        assert!(SystemClock.now_ms() > 1_577_836_800_000);
    }

    #[cfg(unix)]
    #[test]
    fn a_moved_file_stays_the_same_and_a_copy_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (first, moved, copied) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("c"));
        std::fs::write(&first, b"x").unwrap();
        let identity = SystemFiles.identity(&first).unwrap();
        std::fs::rename(&first, &moved).unwrap();
        std::fs::copy(&moved, &copied).unwrap();
        assert_eq!(SystemFiles.identity(&moved).unwrap(), identity);
        assert_ne!(SystemFiles.identity(&copied).unwrap(), identity);
    }
}

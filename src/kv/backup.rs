//! A copy of a file on purpose: while it is in use, and back again.
//!
//! ```text
//! backup : for each space, a state that may leave the file ──▶ "to.partial" ──▶ fsync ──▶ "to"
//! restore: the backup, checked as a whole ──▶ "to.partial" ──▶ a new id for each space ──▶ fsync ──▶ "to"
//! ```
//!
//! Spaces are copied one after the other; each as of one commit of its own. Writers go on meanwhile.

use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::causal::VersionVector;
use crate::storage::{Backend, OpenError, Redb, Write};

use super::check;
use super::error::{Error, Result};
use super::file::File;
use super::identity::{rotate_every_space, view_to_emit};
use super::meta::Tables;
use super::options::Settings;
use super::space::{Space, View};

/// Writes every space of a file to a new one.
pub(crate) fn backup(file: &Arc<File>, to: &Path) -> Result<()> {
    let (partial, target) = Partial::begin(to)?;
    // With the identity of the file: if the backup is opened as it is, it is a copy.
    copy(file, &target, |_key| true, |space| view_to_emit(space, &VersionVector::new()))?;
    drop(target);
    partial.finish(to)
}

/// Writes every space of a backup to a new file, as replicas of their own.
pub(crate) fn restore(backup: &Path, to: &Path, settings: &Settings) -> Result<()> {
    let reading = Settings { read_only: true, ..settings.clone() };
    let source = File::open(Box::new(Redb::open_read_only(backup)?), reading, None)?;
    let (partial, target) = Partial::begin(to)?;
    // Without an identity: the file may be moved to its place before it is opened there.
    copy(
        &source,
        &target,
        |key| key != File::IDENTITY,
        |space| {
            let view = space.view()?;
            check::check(&view)?;
            Ok(view)
        },
    )?;
    let writing = Settings { read_only: false, ..settings.clone() };
    let target = File::open(Box::new(target), writing, None)?;
    rotate_every_space(&target)?;
    drop(target);
    partial.finish(to)
}

/// A file that is not yet at its place. Gone again if it never gets there.
struct Partial {
    path: PathBuf,
    is_whole: bool,
}

impl Partial {
    /// Makes the file, and locks it.
    fn begin(to: &Path) -> Result<(Self, Redb)> {
        if fs::exists(to)? {
            return Err(Error::Io(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file already: choose another name",
            )));
        }
        let mut path = to.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        if fs::exists(&path)? {
            // What an earlier attempt left; unless one is under way, or it is a store by that name.
            if let Err(error @ OpenError::Locked { .. }) = Redb::open_read_only(&path) {
                return Err(error.into());
            }
            fs::remove_file(&path)?;
        }
        // From now on the file is this one's to remove, and not before.
        let target = Redb::open(&path)?;
        Ok((Self { path, is_whole: false }, target))
    }

    fn finish(mut self, to: &Path) -> Result<()> {
        // A hard link refuses a file that came there meanwhile; a rename would replace it.
        match fs::hard_link(&self.path, to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error.into()),
            // A file system without links.
            Err(_no_links) => fs::rename(&self.path, to)?,
            Ok(()) => {}
        }
        self.is_whole = true;
        let _gone_by_rename = fs::remove_file(&self.path);
        // The name is durable once its folder is.
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            sync_folder(folder)?;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_whole {
            let _best_effort = fs::remove_file(&self.path);
        }
    }
}

/// Copies every space, and of what belongs to the file what `keeps` says; the list of spaces last, so that a copy that ends early is
/// none.
fn copy(
    source: &Arc<File>,
    target: &Redb,
    keeps: impl Fn(&[u8]) -> bool,
    view_of: impl Fn(&Arc<Space>) -> Result<View>,
) -> Result<()> {
    let mut copy = Copy { target, writes: Vec::new(), bytes: 0 };
    for (name, _number) in source.spaces()? {
        let space = source.space(&name)?;
        copy.space(&view_of(&space)?)?;
    }
    for row in source.backend().range(Tables::FILE, (Bound::Unbounded, Bound::Unbounded))? {
        let (key, value) = row?;
        if keeps(&key) {
            copy.write(Write::Put { table: Tables::FILE, key, value })?;
        }
    }
    target.commit(copy.writes, true)?;
    Ok(())
}

/// Writes in commits of a bounded size. None of them counts before the last one, which has the fsync.
struct Copy<'a> {
    target: &'a Redb,
    writes: Vec<Write>,
    bytes: usize,
}

impl Copy<'_> {
    const COMMIT_BYTES: usize = 4 << 20;

    fn space(&mut self, view: &View) -> Result<()> {
        for table in view.tables.ordered() {
            for row in view.read.range(table, (Bound::Unbounded, Bound::Unbounded))? {
                let (key, value) = row?;
                self.write(Write::Put { table, key, value })?;
            }
        }
        for log in view.tables.logs(view.meta.replica_count()) {
            for entry in view.read.entries(log, 0..=u64::MAX)? {
                let (number, value) = entry?;
                self.write(Write::Append { log, number, value })?;
            }
        }
        Ok(())
    }

    fn write(&mut self, write: Write) -> Result<()> {
        let len = |key: &Bytes, value: &Bytes| key.len() + value.len() + 64;
        self.bytes += match &write {
            Write::Put { key, value, .. } => len(key, value),
            Write::Append { value, .. } => len(&Bytes::new(), value),
            Write::Remove { .. } | Write::Erase { .. } => 0,
        };
        self.writes.push(write);
        if self.bytes >= Self::COMMIT_BYTES {
            self.bytes = 0;
            self.target.commit(std::mem::take(&mut self.writes), false)?;
        }
        Ok(())
    }
}

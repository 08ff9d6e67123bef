//! How large a file is, and how it gets smaller: pages that are free are used again, and given back only by a compaction.

use std::io;

use super::{Handle, Shared, Usage, caught, to_io};

/// How much the file takes, and how much of it is free.
pub(super) fn usage(shared: &Shared) -> io::Result<Option<Usage>> {
    let database = shared.database.read();
    if matches!(&*database, Handle::Reading(_)) {
        return Ok(None);
    }
    let stats = caught(|| -> Result<_, ::redb::Error> {
        let transaction = database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        Ok(stats)
    });
    let stats = stats.map_err(to_io)?;
    let used = stats.allocated_pages().saturating_mul(stats.page_size() as u64);
    // What is free lies in whole pages, and within pages that are not full.
    let fragmented = stats.fragmented_bytes();
    let within = stats.stored_bytes().saturating_add(stats.metadata_bytes());
    let free_pages = fragmented.saturating_sub(used.saturating_sub(within));
    Ok(Some(Usage { bytes: used.saturating_add(free_pages), reclaimable: free_pages }))
}

/// Moves pages to the front and cuts the file off behind them.
pub(super) fn compact(shared: &Shared) -> io::Result<()> {
    // In the order in which a read takes them, and both to the end: a reader in between would be in the way.
    let mut view = shared.view.write();
    let mut database = shared.database.write();
    // So would the one that is kept for the next read.
    *view = None;
    match &mut *database {
        Handle::Writing(database) => caught(|| database.compact().map(drop)).map_err(to_io),
        Handle::Reading(_) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
    }
}

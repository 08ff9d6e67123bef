//! Where in a file blocks and sums are, and what a file looks like whose making was cut short.

use std::io;

use ::redb::StorageBackend;

use super::FORMAT;

pub(super) const BLOCK: u64 = 4096;
pub(super) const BLOCK_LEN: usize = 4096;
pub(super) const SECTOR_LEN: usize = 512;
/// The sums in one block of sums. The first one of a file has the magic in the place of one.
pub(super) const SUMS: u64 = 512;
pub(super) const SUMS_LEN: usize = 512;
pub(super) const SUM_LEN: usize = 8;
pub(super) const SUMS_PER_SECTOR: usize = SECTOR_LEN / SUM_LEN;
/// What a file begins with.
pub(super) const MAGIC: u64 = {
    let [a, b, c, d, e, f, g] = *b"tombolo";
    u64::from_le_bytes([a, b, c, d, e, f, g, FORMAT])
};
/// Where the sum of the header is in its sector.
pub(super) const HEADER_SUM: usize = SECTOR_LEN - SUM_LEN;
/// The flags of redb's header, and the one that says that the file was not closed.
pub(super) const REDB_FLAGS: usize = 9;
pub(super) const REDB_NOT_CLOSED: u8 = 2;
/// A file whose making was cut short is not larger. It has nothing but a header without redb's magic.
const UNFINISHED_MAX: u64 = 64 * BLOCK;

/// The place of a block's sum: in which group, and where in it.
pub(super) const fn place(block: u64) -> (u64, usize) {
    ((block + 1) / SUMS, ((block + 1) % SUMS) as usize)
}

/// Where a group's sums are in the file.
pub(super) const fn group_at(group: u64) -> u64 {
    if group == 0 { 0 } else { (group * (SUMS + 1) - 1) * BLOCK }
}

/// Where a block is in the file.
pub(super) const fn block_at(block: u64) -> u64 {
    (block + 1 + (block + 1) / SUMS) * BLOCK
}

/// How long a file is that holds so many bytes of redb.
pub(super) const fn outer_len(len: u64) -> u64 {
    match len.div_ceil(BLOCK) {
        0 => 0,
        blocks => block_at(blocks - 1) + BLOCK - (blocks * BLOCK - len),
    }
}

/// How many bytes of redb a file holds.
pub(super) const fn inner_len(outer: u64) -> u64 {
    let (blocks, rest) = (outer / BLOCK, outer % BLOCK);
    // Of whole blocks, these are sums.
    let sums = if blocks == 0 { 0 } else { 1 + blocks / (SUMS + 1) };
    (blocks - sums) * BLOCK + rest
}

/// Whether a file is what an interrupted making of a store leaves: blocks of zeros, but for the first sums and a header that does
/// not have redb's magic yet. redb writes that last, when the rest is durable.
pub(super) fn is_unfinished(file: &impl StorageBackend) -> io::Result<bool> {
    let len = file.len()?;
    if len > UNFINISHED_MAX {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read(0, &mut bytes)?;
    let (start, rest) = bytes.split_at(bytes.len().min(2 * BLOCK_LEN));
    let (sums, header) = start.split_at(start.len().min(BLOCK_LEN));
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let (magic, other_sums) = sums.split_at(sums.len().min(SUM_LEN));
    let begins_well = magic == MAGIC.to_le_bytes() || is_zero(magic);
    // Nine bytes of magic, and what follows in the first sector.
    let (redb_magic, _) = header.split_at(header.len().min(9));
    let after_header = header.get(SECTOR_LEN..).unwrap_or_default();
    Ok(begins_well && [other_sums, redb_magic, after_header, rest].into_iter().all(is_zero))
}

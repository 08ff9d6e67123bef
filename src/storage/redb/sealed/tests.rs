use std::collections::BTreeSet;

use ::redb::backends::InMemoryBackend;

use super::layout::SUMS;
use super::*;

fn opened(file: InMemoryBackend) -> Sealed<InMemoryBackend> {
    let sealed = Sealed::new(file);
    sealed.len().unwrap();
    sealed.opened().unwrap();
    sealed
}

/// The bytes of a file.
fn bytes(sealed: &Sealed<InMemoryBackend>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(sealed.inner.len().unwrap()).unwrap()];
    sealed.inner.read(0, &mut bytes).unwrap();
    bytes
}

fn file_of(bytes: &[u8]) -> InMemoryBackend {
    let file = InMemoryBackend::new();
    file.set_len(bytes.len() as u64).unwrap();
    file.write(0, bytes).unwrap();
    file
}

/// What stands for redb's header: its magic, and that the file was closed.
fn header() -> Vec<u8> {
    [&b"redb-like"[..], &[0; 311]].concat()
}

fn block_of(number: u64) -> Vec<u8> {
    (0..BLOCK).map(|at| u8::try_from((at / 8 + number * 7) % 251).unwrap()).collect()
}

/// A file of so many blocks, synced.
fn filled(blocks: u64) -> Sealed<InMemoryBackend> {
    let sealed = opened(InMemoryBackend::new());
    sealed.set_len(blocks * BLOCK).unwrap();
    sealed.write(0, &header()).unwrap();
    (1..blocks).for_each(|number| sealed.write(number * BLOCK, &block_of(number)).unwrap());
    sealed.sync_data().unwrap();
    sealed
}

#[test]
fn blocks_and_sums_each_have_a_place_of_their_own() {
    let mut places: BTreeSet<u64> = (0..7).map(group_at).collect();
    for block in 0..3000 {
        assert!(places.insert(block_at(block)), "block {block} is where something else is");
        let (group, index) = place(block);
        assert!(group_at(group) < block_at(block) && block_at(block) - group_at(group) <= SUMS * BLOCK);
        assert_eq!(
            block_at(block),
            group_at(group) + if group == 0 { index as u64 * BLOCK } else { (index as u64 + 1) * BLOCK }
        );
        assert_eq!(inner_len(outer_len(block * BLOCK)), block * BLOCK);
    }
}

#[test]
fn what_was_written_is_read_whole_and_in_parts_also_after_reopening() {
    let blocks = 1100;
    let sealed = filled(blocks);
    let again = opened(file_of(&bytes(&sealed)));
    for sealed in [sealed, again] {
        assert_eq!(sealed.len().unwrap(), blocks * BLOCK);
        let mut read = vec![0; 9];
        sealed.read(0, &mut read).unwrap();
        assert_eq!(read, header()[..9]);
        for first in (1..blocks - 4).step_by(101).chain([509, 510, 511, 1021, 1022]) {
            let expected: Vec<u8> = (first..first + 4).flat_map(block_of).collect();
            let mut read = vec![0; 4 * BLOCK_LEN];
            sealed.read(first * BLOCK, &mut read).unwrap();
            assert!(read == expected, "blocks from {first}");
            let mut part = vec![0; 5000];
            sealed.read(first * BLOCK + 100, &mut part).unwrap();
            assert!(part == expected[100..5100]);
        }
    }
}

#[test]
fn each_changed_byte_is_an_error_when_it_is_read() {
    let whole = bytes(&filled(4));
    for at in (0..whole.len()).filter(|at| !(4096 + 512..8192).contains(at)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        let sealed = Sealed::new(file_of(&damaged));
        let read_all = || -> io::Result<()> {
            let len = sealed.len()?;
            sealed.opened()?;
            (0..len / BLOCK).try_for_each(|block| sealed.read(block * BLOCK, &mut [0; BLOCK_LEN]))
        };
        let error = read_all().map_err(|error| error.kind());
        // The header has its sum elsewhere, and sums of blocks that are not there are not read.
        let unused = (8..16).contains(&at) || (8 * 5..4096).contains(&at);
        // A file that seems not to have been closed is redb's to repair.
        assert!(unused || error == Err(io::ErrorKind::InvalidData), "byte {at}: {error:?}");
    }
}

#[test]
fn a_block_in_the_place_of_another_is_an_error() {
    let mut whole = bytes(&filled(6));
    whole.copy_within(
        usize::try_from(block_at(2)).unwrap()..usize::try_from(block_at(3)).unwrap(),
        usize::try_from(block_at(4)).unwrap(),
    );
    whole.copy_within(3 * 8..4 * 8, 5 * 8);
    let sealed = opened(file_of(&whole));
    sealed.read(2 * BLOCK, &mut [0; BLOCK_LEN]).unwrap();
    sealed.read(4 * BLOCK, &mut [0; BLOCK_LEN]).unwrap_err();
}

#[test]
fn what_was_cut_off_reads_as_zeros_when_it_is_there_again() {
    for keep in [3, 510, 511, 512, 600] {
        let sealed = filled(1100);
        sealed.set_len(keep * BLOCK).unwrap();
        sealed.set_len(1100 * BLOCK).unwrap();
        sealed.sync_data().unwrap();
        for sealed in [opened(file_of(&bytes(&sealed))), sealed] {
            for block in [keep, keep + 1, 1099] {
                let mut read = vec![1; BLOCK_LEN];
                sealed.read(block * BLOCK, &mut read).unwrap();
                assert!(read.iter().all(|byte| *byte == 0), "{keep}: {block}");
            }
            let mut read = vec![1; BLOCK_LEN];
            sealed.read(2 * BLOCK, &mut read).unwrap();
            assert!(read == block_of(2));
        }
    }
}

#[test]
fn a_file_that_was_not_closed_is_believed_where_redb_has_repaired_it_and_nowhere_else() {
    let mut whole = bytes(&filled(4));
    // Not closed: as redb writes it, with its sum.
    let sealed = opened(file_of(&whole));
    let mut header = header();
    header[REDB_FLAGS] = REDB_NOT_CLOSED;
    sealed.write(0, &header).unwrap();
    whole = bytes(&sealed);
    whole[usize::try_from(block_at(2)).unwrap()] ^= 1;
    for repaired in [true, false] {
        let sealed = Sealed::new(file_of(&whole));
        sealed.len().unwrap();
        sealed.read(2 * BLOCK, &mut [0; BLOCK_LEN]).unwrap();
        let mut closed = header.clone();
        closed[REDB_FLAGS] = 0;
        if repaired {
            sealed.repairs();
            // The power goes right after the write that ends the repair.
            sealed.write(0, &closed).unwrap();
            let sealed = opened(file_of(&bytes(&sealed)));
            sealed.read(2 * BLOCK, &mut [0; BLOCK_LEN]).unwrap();
            sealed.opened().unwrap();
            sealed.read(2 * BLOCK, &mut [0; BLOCK_LEN]).unwrap();
            sealed.read(3 * BLOCK, &mut [0; BLOCK_LEN]).unwrap();
        } else {
            sealed.write(0, &closed).unwrap_err();
            assert!(bytes(&sealed) == whole, "the header is not what it was");
            sealed.write(0, &closed).unwrap_err();
        }
    }
}

#[test]
fn a_making_that_was_cut_short_is_begun_again_and_nothing_else_is() {
    let zeros = vec![0; 20 * BLOCK_LEN];
    let mut with_magic = zeros.clone();
    with_magic[..8].copy_from_slice(&MAGIC.to_le_bytes());
    let mut with_header = with_magic.clone();
    with_header[BLOCK_LEN + 9..BLOCK_LEN + 400].fill(3);
    for unfinished in [&zeros, &with_magic, &with_header] {
        assert_eq!(opened(file_of(unfinished)).inner.len().unwrap(), 0);
    }
    let mut with_block = with_header.clone();
    with_block[5 * BLOCK_LEN] = 1;
    let mut other = zeros;
    other[0] = b'%';
    for (foreign, says) in [(&with_block, true), (&other, false)] {
        let sealed = Sealed::new(file_of(foreign));
        assert_eq!(sealed.len().is_ok(), says);
        assert!(bytes(&sealed) == *foreign);
    }
}

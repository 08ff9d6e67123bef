use super::*;

const OLD: u8 = 1;
const NEW: u8 = 2;

/// A disk with ten durable sectors, and new bytes in some of them that are not.
fn unsynced() -> Disk {
    let disk = Disk::new();
    disk.set_len(10 * SECTOR as u64).unwrap();
    disk.write(0, &[OLD; 10 * SECTOR]).unwrap();
    disk.sync_data().unwrap();
    disk.write(SECTOR as u64, &[NEW; 3 * SECTOR]).unwrap();
    disk.write(6 * SECTOR as u64, &[NEW; SECTOR]).unwrap();
    disk.set_len(12 * SECTOR as u64).unwrap();
    disk.write(11 * SECTOR as u64, &[NEW; SECTOR]).unwrap();
    disk
}

/// The first byte of each sector. All of a sector is equal.
fn sectors(disk: &Disk) -> Vec<u8> {
    let bytes = disk.bytes();
    assert!(bytes.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "half a sector");
    bytes.chunks(SECTOR).map(|sector| sector[0]).collect()
}

#[test]
fn a_power_loss_keeps_what_was_synced_and_any_part_of_the_rest() {
    let mut met = std::collections::BTreeSet::new();
    for seed in 0..2000 {
        let left = sectors(&unsynced().after_power_loss(seed));
        for (sector, byte) in left.iter().enumerate() {
            let may_be_new = matches!(sector, 1..=3 | 6 | 11);
            assert!(*byte == NEW && may_be_new || *byte == if sector < 10 { OLD } else { 0 }, "{left:?}");
        }
        met.insert(left);
    }
    assert!(met.contains(&sectors(&unsynced())), "everything survived never");
    assert!(met.contains(&vec![OLD; 10]), "nothing survived never");
    assert!(met.iter().any(|left| left[1] == OLD && left[2] == NEW), "a write torn in its middle");
    assert!(met.iter().any(|left| left[2] == OLD && left[6] == NEW), "a later write without an earlier one");
    assert!(met.iter().any(|left| left.len() == 12 && left[11] == 0), "the length without the write");
    assert!(met.len() > 20, "{}", met.len());
    assert_eq!(unsynced().after_power_loss(5).bytes(), unsynced().after_power_loss(5).bytes());
}

#[test]
fn each_operation_of_a_recording_can_be_the_last() {
    let disk = Disk::with_bytes(vec![OLD; SECTOR]);
    disk.record();
    disk.write(0, &[NEW; SECTOR]).unwrap();
    disk.sync_data().unwrap();
    disk.write(SECTOR as u64, &[NEW; SECTOR]).unwrap();
    let mut first = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let crashes: Vec<_> = disk.crashes(seed).map(|(number, left)| (number, sectors(&left))).collect();
        assert_eq!(crashes.iter().map(|(number, _left)| *number).collect::<Vec<_>>(), [1, 2, 3]);
        first.extend([crashes[0].1.clone(), crashes[1].1.clone()]);
        // The sync before it had returned.
        assert_eq!(crashes[2].1[0], NEW);
    }
    assert_eq!(first.into_iter().collect::<Vec<_>>(), [vec![OLD], vec![NEW]]);
}

#[test]
fn without_power_everything_fails() {
    let disk = unsynced();
    disk.cut_power_at(disk.operations() + 2);
    disk.write(0, &[NEW; SECTOR]).unwrap();
    assert!(disk.write(0, &[NEW; SECTOR]).is_err());
    assert!(disk.read(0, &mut [0]).is_err());
    assert!(disk.sync_data().is_err());
    assert!(disk.len().is_err());
    assert_eq!(disk.operations(), 9);
}

#[test]
fn a_sync_that_lied_keeps_nothing_and_one_that_failed_keeps_some_for_good() {
    let disk = unsynced();
    disk.set_syncs(Syncs::Lie);
    disk.sync_data().unwrap();
    assert!((0..100).any(|seed| sectors(&disk.after_power_loss(seed)) == [OLD; 10]));
    disk.set_syncs(Syncs::Honest);
    disk.sync_data().unwrap();
    assert_eq!(disk.after_power_loss(1).bytes(), disk.bytes());

    let mut met = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let disk = unsynced();
        disk.set_syncs(Syncs::Fail { seed });
        disk.sync_data().unwrap_err();
        assert_eq!(sectors(&disk)[1], NEW, "it is there until the power goes");
        disk.set_syncs(Syncs::Honest);
        disk.sync_data().unwrap();
        met.insert(sectors(&disk.after_power_loss(seed)));
    }
    assert!(met.len() > 5, "a later sync made it durable");
}

#[test]
fn a_full_disk_refuses_what_is_new_and_takes_what_is_not() {
    let full = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let disk = unsynced();
    disk.set_room(Room::Length(12 * SECTOR as u64));
    disk.write(0, &[NEW; SECTOR]).unwrap();
    full(disk.set_len(13 * SECTOR as u64));
    full(disk.write(12 * SECTOR as u64, &[NEW; SECTOR]));

    disk.set_room(Room::Sectors(disk.sectors()));
    disk.set_len(20 * SECTOR as u64).unwrap();
    disk.write(0, &[OLD; SECTOR]).unwrap();
    full(disk.write(15 * SECTOR as u64, &[NEW; SECTOR]));
    disk.set_room(Room::Endless);
    disk.write(15 * SECTOR as u64, &[NEW; SECTOR]).unwrap();
}

//! The rows that everything is measured with: keys of 44 bytes in random order, texts of 24, in registers.

use std::cell::Cell;
use std::collections::BTreeMap;

use tombolo::Store;
use tombolo::codec::key::KeyBuf;

/// What a row holds besides the text itself: a stamp of 8 bytes, and the head of a short text.
const STAMP_AND_HEAD: [u8; 9] = [0xb8; 9];
/// The kind byte behind the key of a register.
const REGISTER: u8 = 1;

pub(crate) fn key(number: u64) -> String {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("notes/{spread:016x}/title/{number:08}-----")
}

/// A key whose order is that of the numbers.
pub(crate) fn key_in_order(number: u64) -> String {
    format!("notes/{number:016}/title/{number:08}-----")
}

pub(crate) fn value(number: u64) -> String {
    format!("{number:024}")
}

/// The bytes of a row that a store keeps: its path and its payload.
pub(crate) fn path(key: &str) -> Vec<u8> {
    [KeyBuf::from_key(key).as_bytes(), &[REGISTER]].concat()
}

pub(crate) fn payload(value: &str) -> Vec<u8> {
    [&STAMP_AND_HEAD[..], value.as_bytes()].concat()
}

/// Numbers below `end` in an order that no cache foresees.
pub(crate) fn lots(end: u64) -> impl Fn() -> u64 {
    let state = Cell::new(0x2545_F491_4F6C_DD1D_u64);
    move || {
        let mut next = state.get();
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        state.set(next);
        next % end
    }
}

/// Writes rows, 10,000 in a transaction.
pub(crate) fn fill(store: &Store, rows: u64) {
    fill_with(store, rows, key);
}

pub(crate) fn fill_with(store: &Store, rows: u64, key: fn(u64) -> String) {
    for start in (0..rows).step_by(10_000) {
        let mut numbers = start..rows.min(start + 10_000);
        store.transact(|tx| numbers.try_for_each(|number| tx.register::<String>(&*key(number)).set(&*value(number)))).unwrap();
    }
}

pub(crate) fn store_with(rows: u64) -> Store {
    let store = Store::in_memory();
    fill(&store, rows);
    store
}

/// The same bytes. Grown row by row as a store is: one that is collected has full nodes, in order in memory.
pub(crate) fn map_with(rows: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut map = BTreeMap::new();
    for number in 0..rows {
        map.insert(path(&key(number)), payload(&value(number)));
    }
    map
}

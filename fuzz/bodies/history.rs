//! A seed is a history; the store reads what the oracle says after every step.

use std::sync::{Arc, LazyLock};

use tombolo::sim::{Runner, Schema, StoreSubject};

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(Schema::every_kind()));

pub(super) fn run(input: &[u8]) {
    let seed = input.iter().take(8).rev().fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
    let run = Runner::new(&SCHEMA).seed(seed).run(|replica| StoreSubject::in_memory(replica, &SCHEMA));
    if let Err(failure) = run {
        panic!("{failure}");
    }
}

//! A seed is a history; the store reads what the oracle says after every step.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tombolo::sim::{Runner, Schema, StoreSubject};

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(Schema::every_kind()));

fuzz_target!(|seed: u64| {
    let run = Runner::new(&SCHEMA).seed(seed).run(|replica| StoreSubject::in_memory(replica, &SCHEMA));
    if let Err(failure) = run {
        panic!("{failure}");
    }
});

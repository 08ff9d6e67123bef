#![no_main]

#[path = "../bodies/decoders.rs"]
mod body;

use allocation_counter::measure;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input, |what| measure(what).bytes_max));

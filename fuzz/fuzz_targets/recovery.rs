#![no_main]

#[path = "../bodies/recovery.rs"]
mod body;

use std::panic;
use std::sync::Once;

static HOOK: Once = Once::new();

/// redb panics on pages that are not as it wrote them, and the store makes a typed error of that: only a panic that it does not catch counts, and
/// any other one. The fuzzer's own hook aborts at all of them.
fn spare_what_is_caught() {
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let is_redb = panic.location().is_some_and(|at| at.file().contains("/redb-"));
        if !is_redb {
            abort(panic);
        }
    }));
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    HOOK.call_once(spare_what_is_caught);
    body::run(input);
});

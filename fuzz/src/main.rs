//! The driver that is guided by coverage. `cargo xtask fuzz` builds it and runs it; `VARKA_FUZZ_TARGET` names the target.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use varka_fuzz::{Target, find, mutate};

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("VARKA_FUZZ_TARGET").unwrap_or_default();
        find(&name).unwrap_or_else(|| {
            eprintln!("VARKA_FUZZ_TARGET names no target: {name:?}");
            std::process::exit(2)
        })
    })
}

fuzz_target!(init: { target(); }, |data: &[u8]| {
    (target().run)(data);
});

// Half of the mutations know the form of the input; the others are libFuzzer's own, which learn from comparisons.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let input = data.get(..size).unwrap_or_default();
    let mut changed = mutate::mutate(input, target().form, u64::from(seed));
    changed.truncate(max_size);
    if let Some(place) = data.get_mut(..changed.len()) {
        place.copy_from_slice(&changed);
    }
    changed.len()
});

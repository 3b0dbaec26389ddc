#![no_main]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

libfuzzer_sys::fuzz_target!(
    |data: &[u8]| featherwire_fuzz::law::memory(data, || ALLOCATOR.stats().bytes_allocated)
);

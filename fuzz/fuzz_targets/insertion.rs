//! See `rvs_fixtures::fuzz::insertion`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fixtures::fuzz::insertion(data));

//! See `rvs_fixtures::fuzz::express_equals_director`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fixtures::fuzz::express_equals_director(data));

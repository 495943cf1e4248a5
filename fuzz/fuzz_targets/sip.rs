//! See `rvs_fixtures::fuzz::sip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fixtures::fuzz::sip(data));

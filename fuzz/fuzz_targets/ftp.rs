//! See `rvs_fixtures::fuzz::ftp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rvs_fixtures::fuzz::ftp(data));

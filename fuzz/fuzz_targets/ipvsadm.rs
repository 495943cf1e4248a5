//! The `ipvsadm` front end's command lines: its module, taken from the binary.
#![no_main]

#[path = "../../rvs/src/ipvsadm/mod.rs"]
#[allow(dead_code, unused_imports, reason = "only the parser is fuzzed")]
mod ipvsadm;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ipvsadm::fuzz::line(data));

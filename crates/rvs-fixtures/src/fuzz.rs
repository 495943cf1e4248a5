//! The bodies of the fuzz targets: each takes any bytes and panics where something is wrong. The crate
//! `fuzz/` hands them to libFuzzer; an ordinary test replays the committed corpus and random bytes.

mod frames;
mod ftp;
mod sctp;
mod sip;
mod table;
mod text;

pub use frames::{TunnelEnd, decapsulate, express_equals_director, frame};
pub use ftp::ftp;
pub use sctp::sctp;
pub use sip::sip;
pub use table::insertion;
pub use text::config;

/// What a target does with its input.
pub type Body = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: [(&str, Body); 8] = [
    ("config", config),
    ("decapsulate", decapsulate),
    ("express_equals_director", express_equals_director),
    ("frame", frame),
    ("ftp", ftp),
    ("insertion", insertion),
    ("sctp", sctp),
    ("sip", sip),
];

/// Bytes that decide things, one after the other; zeros when there are none left.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

//! What the fuzzer, and the replay of its corpus, do with a command line.

use super::names::{Names, Others};
use super::parse;

/// Reads `data` as a command line: it is understood, or refused in one message with a status that is
/// not 0; nothing panics.
pub(crate) fn line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let names = Names::from_texts("10.0.0.9 vip\n", "http 80/tcp\n", Others::Nobody);
    if let Err(failure) = parse::parse(&words, &names) {
        assert_ne!(failure.exit, 0, "{words:?}");
    }
}

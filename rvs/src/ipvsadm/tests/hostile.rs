//! Whatever the words or the lines: no panic, and whoever fails says why.

use proptest::prelude::*;

use super::memory::Memory;
use super::{names, run_with_names};

/// Words that mean something, and some that do not.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "-A",
        "-E",
        "-D",
        "-C",
        "-a",
        "-e",
        "-d",
        "-L",
        "-S",
        "-R",
        "-Z",
        "-n",
        "-c",
        "-t",
        "-u",
        "-f",
        "-r",
        "-s",
        "-w",
        "-m",
        "-i",
        "-g",
        "-p",
        "-M",
        "-x",
        "-6",
        "-b",
        "--set",
        "--stats",
        "--rate",
        "--start-daemon",
        "--tun-type",
        "10.0.0.1:80",
        "10.0.0.2",
        "[2001:db8::1]:80",
        "[",
        "]:",
        ":",
        "rr",
        "wlc",
        "http",
        "1",
        "-1",
        "--",
        "-",
        "=",
        "master",
        "gue",
        "ipvsadm",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn any_words(words in prop::collection::vec(word(), 0..10), joined in "-[A-Za-z6=]{0,8}", stdin in any::<Vec<u8>>()) {
        for words in [words.clone(), [vec![joined], words].concat()] {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let mut table = Memory::new();
            let status = run_with_names(&words, &names(), &mut table, &mut stdin.as_slice(), &mut stdout, &mut stderr);
            prop_assert!(status == 0 || !stderr.is_empty(), "{:?}", words);
        }
    }

    #[test]
    fn any_lines(lines in prop::collection::vec(prop::collection::vec(word(), 0..8), 0..8)) {
        let stdin: String = lines.iter().map(|words| words.join(" ") + "\n").collect();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let words = ["-R".to_owned()];
        run_with_names(&words, &names(), &mut Memory::new(), &mut stdin.as_bytes(), &mut stdout, &mut stderr);
    }
}

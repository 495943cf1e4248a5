//! The fuzzer's corpus of command lines, replayed.

use std::{fs, path::Path};

use crate::ipvsadm::fuzz;

#[test]
fn the_fuzzers_corpus() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/ipvsadm");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("fuzz/corpus/ipvsadm")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 8, "only {} files", files.len());
    for file in files {
        println!("{}", file.display());
        fuzz::line(&fs::read(&file).expect("a file"));
    }
}

//! The fuzz targets' committed corpus, replayed, and a bounded run of random bytes through each.

use std::{fs, path::Path};

use rvs_fixtures::fuzz::TARGETS;

const RUNS: u32 = 3000;

#[test]
fn every_target_replays_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in TARGETS {
        let directory = corpus.join(name);
        let entries = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        assert!(files.len() >= 3, "{name}: only {} files", files.len());
        for file in files {
            println!("{}", file.display());
            target(&fs::read(&file).expect("a file"));
        }
    }
}

#[test]
fn every_target_is_a_target_of_the_fuzz_crate() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(
            fuzz.join(format!("fuzz_targets/{name}.rs")).exists(),
            "{name}"
        );
    }
}

#[test]
fn random_bytes_through_every_target() {
    for (name, target) in TARGETS {
        // xorshift64 (Marsaglia 2003).
        let mut x = 0x2545_f491_4f6c_dd1d_u64;
        for run in 0..RUNS {
            let mut next = || {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 24) as u8
            };
            let length = usize::from(next()) * 2;
            let data: Vec<u8> = (0..length).map(|_| next()).collect();
            let caught = std::panic::catch_unwind(|| target(&data));
            assert!(caught.is_ok(), "{name}, run {run}: {data:02x?}");
        }
    }
}

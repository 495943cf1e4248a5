//! What tests of a director's pins share.

#![allow(
    dead_code,
    reason = "every test program has a copy, and uses a part of it"
)]

use std::path::PathBuf;

use rvs_config::Director;

/// The name of an instance, by which a run of the tests finds what this process left behind.
pub(crate) fn instance_name(word: &str) -> String {
    format!("{word}-{}-0", std::process::id())
}

/// Where an instance's maps are pinned. There is one set of them.
pub(crate) fn pinned_maps(director: &Director) -> PathBuf {
    let root = director.bpffs.join("rvs").join(director.instance.as_str());
    let found: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("it is pinned")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name() != Some("links".as_ref()))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

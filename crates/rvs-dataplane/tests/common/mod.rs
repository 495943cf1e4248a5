//! What tests of a director's pins share.

use std::path::PathBuf;

use rvs_config::Director;

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

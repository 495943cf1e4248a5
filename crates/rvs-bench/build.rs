//! Builds the feeding programs, which lie beside the kernel side.

#[path = "../../xtask/src/ebpf.rs"]
mod ebpf;

use std::{env, fs, path::PathBuf};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let repository = manifest.join("../..");
    for source in ebpf::SOURCES {
        println!(
            "cargo::rerun-if-changed={}",
            repository.join(source).display()
        );
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let built = ebpf::build(&repository, &out.join("bpf")).and_then(|product| {
        fs::copy(
            product.with_file_name("rvs-ebpf-bench"),
            out.join("bench.bpf.o"),
        )
        .map_err(|error| error.to_string())
    });
    if let Err(error) = built {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
    }
}

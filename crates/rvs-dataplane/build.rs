//! Builds the kernel side, so that the library can carry it.

#[path = "../../xtask/src/ebpf.rs"]
mod ebpf;

fn main() {
    ebpf::build_script("rvs-ebpf", "rvs.bpf.o");
}

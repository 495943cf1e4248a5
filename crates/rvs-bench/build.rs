//! Builds the feeding programs, which lie beside the kernel side.

#[path = "../../xtask/src/ebpf.rs"]
mod ebpf;

fn main() {
    ebpf::build_script("rvs-ebpf-bench", "bench.bpf.o");
}

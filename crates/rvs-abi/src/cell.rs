//! Words of shared memory: each may be changed by any CPU, by the kernel side and by user space at
//! any time, so nothing but these operations touches them.
//!
//! The face is the same three times: `core`'s atomics natively, loom's under `cfg(loom)`, and on
//! BPF volatile loads and stores with full-barrier read-modify-writes, since that target's `core`
//! has no atomic types and cpu v3 no ordered loads. On x86-64, the supported platform, a volatile
//! load is an acquire and a volatile store a release; the native variant says the same in Rust.

#[cfg(all(not(target_arch = "bpf"), not(loom)))]
mod native {
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    macro_rules! word {
        ($(#[$doc:meta])* $name:ident, $atomic:ident, $int:ty) => {
            $(#[$doc])*
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name($atomic);

            impl $name {
                /// A cell that holds `value`.
                pub const fn new(value: $int) -> Self {
                    Self($atomic::new(value))
                }

                /// The value now.
                #[inline(always)]
                pub fn load(&self) -> $int {
                    self.0.load(Ordering::Acquire)
                }

                /// Replaces the value, ordered after what this CPU wrote before.
                #[inline(always)]
                pub fn store(&self, value: $int) {
                    self.0.store(value, Ordering::Release);
                }

                /// Replaces `old` by `new`; returns what was found, `old` if it was replaced.
                #[inline(always)]
                pub fn cas(&self, old: $int, new: $int) -> $int {
                    match self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                        Ok(found) | Err(found) => found,
                    }
                }

                /// Replaces the value and returns the one before, with a full barrier.
                #[inline(always)]
                pub fn swap(&self, value: $int) -> $int {
                    self.0.swap(value, Ordering::SeqCst)
                }

                /// Adds, wrapping, and returns the value before.
                #[inline(always)]
                pub fn add(&self, value: $int) -> $int {
                    self.0.fetch_add(value, Ordering::SeqCst)
                }
            }
        };
    }

    word!(/// A shared 32-bit word.
        Word32, AtomicU32, u32);
    word!(/// A shared 64-bit word.
        Word64, AtomicU64, u64);
}

#[cfg(all(not(target_arch = "bpf"), loom))]
mod model {
    use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    macro_rules! word {
        ($(#[$doc:meta])* $name:ident, $atomic:ident, $int:ty) => {
            $(#[$doc])*
            #[derive(Debug, Default)]
            pub struct $name($atomic);

            impl $name {
                /// A cell that holds `value`.
                pub fn new(value: $int) -> Self {
                    Self($atomic::new(value))
                }

                /// The value now.
                pub fn load(&self) -> $int {
                    self.0.load(Ordering::Acquire)
                }

                /// Replaces the value, ordered after what this CPU wrote before.
                pub fn store(&self, value: $int) {
                    self.0.store(value, Ordering::Release);
                }

                /// Replaces `old` by `new`; returns what was found, `old` if it was replaced.
                pub fn cas(&self, old: $int, new: $int) -> $int {
                    // Loom treats SeqCst accesses as AcqRel; the fences give the full barrier
                    // that a locked instruction is.
                    fence(Ordering::SeqCst);
                    let found = match self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
                        Ok(found) | Err(found) => found,
                    };
                    fence(Ordering::SeqCst);
                    found
                }

                /// Replaces the value and returns the one before, with a full barrier.
                pub fn swap(&self, value: $int) -> $int {
                    fence(Ordering::SeqCst);
                    let found = self.0.swap(value, Ordering::AcqRel);
                    fence(Ordering::SeqCst);
                    found
                }

                /// Adds, wrapping, and returns the value before.
                pub fn add(&self, value: $int) -> $int {
                    fence(Ordering::SeqCst);
                    let found = self.0.fetch_add(value, Ordering::AcqRel);
                    fence(Ordering::SeqCst);
                    found
                }
            }
        };
    }

    word!(/// A shared 32-bit word.
        Word32, AtomicU32, u32);
    word!(/// A shared 64-bit word.
        Word64, AtomicU64, u64);
}

#[cfg(target_arch = "bpf")]
#[expect(
    unsafe_code,
    reason = "volatile accesses and atomic intrinsics are all that BPF offers"
)]
mod bpf {
    use core::{
        cell::UnsafeCell,
        intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg},
    };

    macro_rules! word {
        ($(#[$doc:meta])* $name:ident, $int:ty) => {
            $(#[$doc])*
            #[repr(transparent)]
            pub struct $name(UnsafeCell<$int>);

            // SAFETY: every access below is volatile or atomic, and aligned by the type.
            unsafe impl Sync for $name {}

            impl $name {
                /// A cell that holds `value`.
                pub const fn new(value: $int) -> Self {
                    Self(UnsafeCell::new(value))
                }

                /// The value now.
                #[inline(always)]
                pub fn load(&self) -> $int {
                    // SAFETY: the pointer comes from a reference, so it is valid and aligned.
                    unsafe { core::ptr::read_volatile(self.0.get()) }
                }

                /// Replaces the value, ordered after what this CPU wrote before.
                #[inline(always)]
                pub fn store(&self, value: $int) {
                    // SAFETY: as in `load`.
                    unsafe { core::ptr::write_volatile(self.0.get(), value) }
                }

                /// Replaces `old` by `new`; returns what was found, `old` if it was replaced.
                #[inline(always)]
                pub fn cas(&self, old: $int, new: $int) -> $int {
                    // SAFETY: as in `load`.
                    unsafe {
                        atomic_cxchg::<$int, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(self.0.get(), old, new).0
                    }
                }

                /// Replaces the value and returns the one before, with a full barrier.
                #[inline(always)]
                pub fn swap(&self, value: $int) -> $int {
                    // SAFETY: as in `load`.
                    unsafe { atomic_xchg::<$int, { AtomicOrdering::SeqCst }>(self.0.get(), value) }
                }

                /// Adds, wrapping, and returns the value before.
                #[inline(always)]
                pub fn add(&self, value: $int) -> $int {
                    // SAFETY: as in `load`.
                    unsafe { atomic_xadd::<$int, $int, { AtomicOrdering::SeqCst }>(self.0.get(), value) }
                }
            }
        };
    }

    word!(/// A shared 32-bit word.
        Word32, u32);
    word!(/// A shared 64-bit word.
        Word64, u64);
}

#[cfg(target_arch = "bpf")]
pub use bpf::{Word32, Word64};
#[cfg(all(not(target_arch = "bpf"), loom))]
pub use model::{Word32, Word64};
#[cfg(all(not(target_arch = "bpf"), not(loom)))]
pub use native::{Word32, Word64};

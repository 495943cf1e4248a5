//! Arrays that the kernel side and this process share: mmapped BPF arrays of cells.

#![expect(
    unsafe_code,
    reason = "mapping a BPF array is a system call that hands out memory"
)]

use std::{io, marker::PhantomData, os::fd::BorrowedFd, ptr::NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rvs_abi::{Device, Rule, Server, Service, Settings, Slot4, Slot6, Word64};

/// Types that consist of cells only, so that others may change them under a shared reference.
///
/// # Safety
/// Every byte of the type lies in a [`rvs_abi::Word32`] or [`Word64`], and all zeros are a valid value.
pub(crate) unsafe trait Cells: Sized {
    /// Refuses types of which the kernel would round the size up.
    const WHOLE: () = assert!(size_of::<Self>().is_multiple_of(8));
}

// SAFETY: these are `repr(C)` structures of cells, asserted to have no padding by their sizes.
unsafe impl Cells for Settings {}
// SAFETY: as above.
unsafe impl Cells for Slot4 {}
// SAFETY: as above.
unsafe impl Cells for Slot6 {}
// SAFETY: as above.
unsafe impl Cells for Service {}
// SAFETY: as above.
unsafe impl Cells for Server {}
// SAFETY: as above.
unsafe impl Cells for Device {}
// SAFETY: as above.
unsafe impl Cells for Rule {}
// SAFETY: as above.
unsafe impl Cells for Word64 {}
// SAFETY: as above.
unsafe impl Cells for [Word64; 8] {}

/// A mapped array.
pub(crate) struct Shared<T> {
    base: NonNull<T>,
    entries: u32,
    bytes: usize,
    of: PhantomData<T>,
}

// SAFETY: the memory is shared with the kernel anyway; cells are atomic.
unsafe impl<T: Cells> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Cells> Sync for Shared<T> {}

impl<T: Cells> Shared<T> {
    /// Maps the array behind `fd`, which was created with `BPF_F_MMAPABLE` and values of `T`'s size, a
    /// multiple of eight: the kernel rounds smaller ones up.
    pub(crate) fn map(fd: BorrowedFd<'_>, entries: u32) -> io::Result<Self> {
        const { T::WHOLE };
        let bytes =
            (entries as usize * size_of::<T>()).next_multiple_of(rustix::param::page_size());
        // SAFETY: a fresh mapping at an address of the kernel's choice; the kernel checks that the
        // map is mmapable and as large.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let base =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self {
            base,
            entries,
            bytes,
            of: PhantomData,
        })
    }

    /// The entry at `index`.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        // SAFETY: in bounds; the mapping lives as long as `self`; `T` is made of cells, so a shared
        // reference is no promise that it stays the same.
        (index < self.entries).then(|| unsafe { &*self.base.as_ptr().add(index as usize) })
    }

    /// All entries with their indexes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.entries).filter_map(|index| self.get(index).map(|entry| (index, entry)))
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: this mapping was made in `map`, and every reference into it borrowed `self`.
        // An error would leave the mapping in place, which harms nobody.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A plain structure that aya may copy to and from maps.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<T: Copy>(pub(crate) T);

// SAFETY: the structures are `repr(C)`, made of integers, without padding.
unsafe impl aya::Pod for Plain<rvs_abi::ServiceKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::AddressKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::FragmentKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::SequenceKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::CallKey> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::Call> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::Sequence> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::FragmentNote> {}
// SAFETY: as above; the tail of a `ServerStats` is padding that is only ever read as integers.
unsafe impl aya::Pod for Plain<rvs_abi::ServerStats> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<rvs_abi::LocalityKey> {}
// SAFETY: an array of integers.
unsafe impl aya::Pod for Plain<[u64; rvs_abi::COUNTERS]> {}

/// Requests to the programs that this process runs: plain structures that are sent and received as
/// bytes.
///
/// # Safety
/// The type is `repr(C)`, made of integers, and has no padding.
pub(crate) unsafe trait Request: Copy {}
// SAFETY: sixteen words.
unsafe impl Request for rvs_abi::sweep::Sweep {}
// SAFETY: sixteen words.
unsafe impl Request for rvs_abi::sweep::Insertion {}
// SAFETY: two words and seven double words.
unsafe impl Request for rvs_abi::sweep::ClockReading {}

/// The bytes of a request.
pub(crate) fn bytes_of<T: Request>(request: &T) -> &[u8] {
    // SAFETY: `Request` promises that every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(request).cast(), size_of::<T>()) }
}

/// The bytes of an answer's place.
pub(crate) fn bytes_of_mut<T: Request>(answer: &mut T) -> &mut [u8] {
    // SAFETY: `Request` promises that any bytes are a value.
    unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(answer).cast(), size_of::<T>()) }
}

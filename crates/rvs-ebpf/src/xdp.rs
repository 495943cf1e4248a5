//! A packet at XDP: bytes between two pointers, with every checksum filled in.

use core::arch::asm;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_redirect, bpf_xdp_adjust_head},
};
use rvs_core::{Action, ChecksumChange, Flow, Hop, Packet, Path, checksum, forward};

use rvs_abi::tail;

use crate::{maps, stages};

/// The farthest offset that anything is read at: the verifier wants an offset that it does not know bounded.
const FARTHEST: u32 = 0xfff;

/// The packet.
pub struct Xdp {
    context: *mut xdp_md,
}

maps::tables_by_maps!(Xdp);

impl Path for Xdp {
    #[inline(always)]
    fn express_v6(&mut self) -> Action {
        maps::go_on_express(self.context, tail::EXPRESS_V6);
        Action::Pass
    }
    #[inline(always)]
    fn wrap(&mut self, flow: &Flow, server: u32) -> u32 {
        forward::wrap_plain(self, flow, server)
    }
}

impl Xdp {
    /// The packet of a program's context.
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// Whether the frame is addressed to the interface that it came in on.
    #[inline(always)]
    pub fn is_for_us(&self) -> bool {
        let Some([first, second]) = self.read_words::<2>(0) else {
            return false;
        };
        // SAFETY: the context is valid while the program runs; the verifier checks the field.
        let ifindex = unsafe { (*self.context).ingress_ifindex };
        maps::is_own_mac(ifindex, [first, second & 0xffff])
    }

    /// Where `N` bytes at `offset` lie, if they are all in the packet.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: u32) -> Option<*mut [u8; N]> {
        // SAFETY: the context is valid while the program runs.
        let (data, end) = unsafe {
            (
                (*self.context).data as usize,
                (*self.context).data_end as usize,
            )
        };
        if offset > FARTHEST {
            return None;
        }
        let start = data + offset as usize;
        // One byte's check becomes ">=", which the verifier does not follow. No frame ends where one is read.
        if start + N.max(2) > end {
            None
        } else {
            Some(start as *mut [u8; N])
        }
    }
}

impl Xdp {
    /// Where `N` words at `offset` lie, if they are all in the packet.
    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<*mut u8> {
        // SAFETY: the context is valid while the program runs.
        let (data, end) = unsafe {
            (
                (*self.context).data as usize,
                (*self.context).data_end as usize,
            )
        };
        if offset > FARTHEST {
            return None;
        }
        let start = data + offset as usize;
        if start + N * 4 > end {
            None
        } else {
            Some(start as *mut u8)
        }
    }
}

/// Loads a word that need not be aligned: the machine can, but the language only offers four bytes.
///
/// # Safety
/// Four bytes at `place` are readable.
#[inline(always)]
unsafe fn load_word(place: *const u8) -> u32 {
    let word: u64;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("{0} = *(u32 *)({1} + 0)", out(reg) word, in(reg) place, options(nostack, pure, readonly));
    };
    word as u32
}

/// Stores a word that need not be aligned.
///
/// # Safety
/// Four bytes at `place` are writable.
#[inline(always)]
unsafe fn store_word(place: *mut u8, word: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!("*(u32 *)({0} + 0) = {1}", in(reg) place, in(reg) u64::from(word), options(nostack));
    };
}

impl Packet for Xdp {
    #[inline(always)]
    fn ethertype(&self) -> u16 {
        self.read::<2>(12).map_or(0, u16::from_be_bytes)
    }

    #[inline(always)]
    fn network_offset(&self) -> u32 {
        14
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: as in `at`.
        unsafe { (*self.context).data_end.wrapping_sub((*self.context).data) }
    }

    #[inline(always)]
    fn segments(&self) -> (u32, u32) {
        (1, 0)
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: `at` checked the bounds; bytes have no alignment.
        self.at::<N>(offset).map(|bytes| unsafe { *bytes })
    }

    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let start = self.words::<N>(offset)?;
        // SAFETY: `words` checked the bounds.
        Some(core::array::from_fn(|i| unsafe {
            load_word(start.add(i * 4))
        }))
    }

    #[inline(always)]
    fn write_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> bool {
        let Some(start) = self.words::<N>(offset) else {
            return false;
        };
        for (i, word) in words.iter().enumerate() {
            // SAFETY: `words` checked the bounds; nobody else holds this packet.
            unsafe { store_word(start.add(i * 4), *word) };
        }
        true
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool {
        let Some(place) = self.at::<N>(offset) else {
            return false;
        };
        // SAFETY: `at` checked the bounds; nobody else holds this packet.
        unsafe { *place = *bytes };
        true
    }

    #[inline(always)]
    fn change_checksum(&mut self, change: &ChecksumChange) -> bool {
        let Some(old) = self.read::<2>(change.offset) else {
            return false;
        };
        let old = u16::from_ne_bytes(old);
        if change.is_udp && old == 0 {
            return true;
        }
        let difference = checksum::add(
            change.pseudo,
            checksum::difference(change.old_ports, change.new_ports),
        );
        let new = checksum::update(old, difference);
        let new = if change.is_udp && new == 0 {
            0xffff
        } else {
            new
        };
        self.write(change.offset, &new.to_ne_bytes())
    }

    /// The new link header has the EtherType; its addresses come with [`Packet::transmit`].
    #[inline(always)]
    fn encapsulate<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        let ethertype: u16 = if N == 10 { 0x86dd } else { 0x0800 };
        // SAFETY: plain numbers; every access to the packet reads its bounds anew.
        let made = unsafe { bpf_xdp_adjust_head(self.context, -(N as i32 * 4)) == 0 };
        made && self.write(12, &ethertype.to_be_bytes()) && self.write_words(14, header)
    }

    // The express way puts nothing else before a packet, takes nothing away, and does not answer.

    #[inline(always)]
    fn push<const N: usize>(&mut self, _header: &[u32; N]) -> bool {
        false
    }

    #[inline(always)]
    fn decapsulate(&mut self, _length: u32, _ethertype: u16) -> bool {
        false
    }

    #[inline(always)]
    fn resize(&mut self, _length: u32) -> bool {
        false
    }

    #[inline(always)]
    fn route(&self, family: u32, destination: &[u32; 4], source: &[u32; 4], hop: &mut Hop) -> bool {
        // SAFETY: as in `at`.
        let ifindex = unsafe { (*self.context).ingress_ifindex };
        stages::fib_lookup(
            self.context.cast(),
            ifindex,
            family,
            destination,
            source,
            hop,
        )
    }

    #[inline(always)]
    fn can_transmit(&self, hop: &Hop) -> bool {
        maps::has_express(hop.ifindex)
    }

    #[inline(always)]
    fn transmit(&mut self, hop: &Hop) -> Action {
        let Some(place) = self.at::<12>(0) else {
            return Action::Drop;
        };
        // SAFETY: `at` checked the bounds.
        unsafe {
            let words = place.cast::<u32>();
            words.write_unaligned(hop.macs[0]);
            words.add(1).write_unaligned(hop.macs[1]);
            words.add(2).write_unaligned(hop.macs[2]);
            bpf_redirect(hop.ifindex, 0);
        }
        Action::Transmit
    }

    // Nor sends anything the long way round.
    #[inline(always)]
    fn detour(&mut self, _ifindex: u32, _ticket: &[u32; 3]) -> Action {
        Action::Pass
    }

    #[inline(always)]
    fn bounce(&mut self) -> Action {
        Action::Pass
    }
}

//! A packet at tc: an `sk_buff`, perhaps a super-packet, perhaps with checksums still to be filled
//! in, perhaps not linear. All access goes through helpers that take care of these.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
        BPF_F_ADJ_ROOM_ENCAP_L4_GRE, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO,
        BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
        bpf_redir_neigh,
    },
    helpers::generated::{
        bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_skb_adjust_room,
        bpf_skb_change_head, bpf_skb_change_proto, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
};
use rvs_abi::{Counter, device::LOOPBACK, protocol};
use rvs_core::{
    Action, ChecksumChange, Flow, Hop, Packet,
    decapsulate::Decapsulator,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
};

use crate::{maps, stages};

/// Bytes of an Ethernet header.
pub const ETHERNET: u32 = 14;
/// Where a frame's EtherType lies.
const ETHERTYPE: u32 = 12;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// Says that a packet which the host itself sent was switched: a device below, or the loopback interface, shows it
/// to the director again.
const SWITCHED: u16 = 0x5256;

/// Says that a packet may be something wrapped: the mark stays with it when the host unwraps it.
const TUNNELED: u16 = 0x5257;

/// The packet.
pub struct Skb {
    /// The program's context.
    pub context: *mut __sk_buff,
    /// Bytes of the link header: none on devices like tun and wireguard.
    network: u32,
    /// The host itself sent it.
    is_local: bool,
}

maps::tables_by_maps!(Skb);

impl Skb {
    /// The packet of a program's context, which came in on Ethernet.
    #[inline(always)]
    pub fn new(context: *mut __sk_buff) -> Self {
        Self {
            context,
            network: ETHERNET,
            is_local: false,
        }
    }

    /// The packet of a flow, of which at least [`Flow::network`] and [`Flow::LOCAL`] are known.
    #[inline(always)]
    pub fn of(context: *mut __sk_buff, flow: &Flow) -> Self {
        Self {
            context,
            network: flow.network,
            is_local: flow.is_local(),
        }
    }

    /// Whether a packet on an interface's way out, or on the loopback interface, is nothing new to the director:
    /// it came in on an interface, or was switched already.
    #[inline(always)]
    pub fn is_known(&mut self) -> bool {
        // SAFETY: as in `packet_type`.
        let context = unsafe { &mut *self.context };
        if context.tc_index == u32::from(SWITCHED) {
            if context.ifindex == LOOPBACK {
                context.tc_index = 0;
            }
            return true;
        }
        context.ifindex != LOOPBACK && context.ingress_ifindex != 0
    }

    /// A packet with so long a link header, of which nothing more needs to be known.
    #[inline(always)]
    pub fn at(context: *mut __sk_buff, network: u32) -> Self {
        Self {
            context,
            network,
            is_local: false,
        }
    }

    /// Sends the packet in on the loopback interface, whose address is zeros.
    #[inline(always)]
    pub fn come_in_again(&mut self) -> Action {
        if !self.has_link_header() || !self.write_words(0, &[0; 3]) {
            return Action::Drop;
        }
        self.mark_switched();
        // SAFETY: plain numbers.
        unsafe { bpf_redirect(LOOPBACK, u64::from(BPF_F_INGRESS)) };
        Action::Transmit
    }

    #[inline(always)]
    fn mark_switched(&mut self) {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).tc_index = u32::from(SWITCHED) };
    }

    /// Gives the packet a link header if it has none; the addresses in it are not yet known.
    #[inline(always)]
    fn has_link_header(&self) -> bool {
        self.network != 0 || stages::rvs_add_link(self.context) != 0
    }

    /// Gives the packet, which has none, a link header.
    #[inline(always)]
    pub fn add_link_header(&mut self) -> bool {
        // SAFETY: plain numbers; the context is valid while the program runs.
        let (made, protocol) = unsafe {
            (
                bpf_skb_change_head(self.context.cast(), ETHERNET, 0) == 0,
                (*self.context).protocol as u16,
            )
        };
        made && self.store(12, core::ptr::from_ref(&protocol).cast(), 2)
    }

    /// To whom the frame was addressed (`PACKET_*`).
    #[inline(always)]
    pub fn packet_type(&self) -> u32 {
        // SAFETY: the context is valid while the program runs; the verifier checks the field.
        unsafe { (*self.context).pkt_type }
    }

    /// Whether a VLAN tag lies in the metadata.
    #[inline(always)]
    pub fn is_tagged(&self) -> bool {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).vlan_present != 0 }
    }

    #[inline(always)]
    fn store(&mut self, offset: u32, bytes: *const u8, length: u32) -> bool {
        // SAFETY: the callers pass arrays of `length` bytes; the helper checks the packet's bounds.
        unsafe { bpf_skb_store_bytes(self.context.cast(), offset, bytes.cast(), length, 0) == 0 }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn ethertype(&self) -> u16 {
        // SAFETY: as in `packet_type`.
        u16::from_be(unsafe { (*self.context).protocol } as u16)
    }

    #[inline(always)]
    fn network_offset(&self) -> u32 {
        self.network
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).len }
    }

    #[inline(always)]
    fn mark(&self) -> u32 {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).mark }
    }

    #[inline(always)]
    fn mark_tunneled(&mut self) {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).tc_index = u32::from(TUNNELED) };
    }

    #[inline(always)]
    fn is_tunneled(&self) -> bool {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).tc_index == u32::from(TUNNELED) }
    }

    #[inline(always)]
    fn segments(&self) -> (u32, u32) {
        // SAFETY: as in `packet_type`.
        let (segments, size, length) = unsafe {
            (
                (*self.context).gso_segs,
                (*self.context).gso_size,
                (*self.context).len,
            )
        };
        // What comes from a guest or a tun device may not have been counted yet.
        let counted = if segments > 1 {
            segments
        } else {
            length.checked_div(size).map_or(1, |whole| whole + 1)
        };
        if size == 0 { (1, 0) } else { (counted, size) }
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the helper writes N bytes, or fails; it checks the packet's bounds.
        unsafe {
            let failed = bpf_skb_load_bytes(
                self.context.cast(),
                offset,
                bytes.as_mut_ptr().cast(),
                N as u32,
            ) != 0;
            if failed {
                None
            } else {
                Some(bytes.assume_init())
            }
        }
    }

    #[inline(always)]
    fn read_words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let mut words = MaybeUninit::<[u32; N]>::uninit();
        // SAFETY: the helper writes N words, or fails; it checks the packet's bounds.
        unsafe {
            let failed = bpf_skb_load_bytes(
                self.context.cast(),
                offset,
                words.as_mut_ptr().cast(),
                N as u32 * 4,
            ) != 0;
            if failed {
                None
            } else {
                Some(words.assume_init())
            }
        }
    }

    #[inline(always)]
    fn write_words<const N: usize>(&mut self, offset: u32, words: &[u32; N]) -> bool {
        self.store(offset, words.as_ptr().cast(), N as u32 * 4)
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: u32, bytes: &[u8; N]) -> bool {
        self.store(offset, bytes.as_ptr(), N as u32)
    }

    #[inline(always)]
    fn change_checksum(&mut self, change: &ChecksumChange) -> bool {
        let mangled = if change.is_udp {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        // SAFETY: plain numbers; the helper checks the packet's bounds. The two are never merged:
        // where the checksum is still to be filled in, only the pseudo-header's part is there.
        unsafe {
            let skb = self.context.cast();
            let pseudo = mangled | u64::from(BPF_F_PSEUDO_HDR);
            bpf_l4_csum_replace(skb, change.offset, 0, u64::from(change.pseudo), pseudo) == 0
                && (change.old_ports == change.new_ports
                    || bpf_l4_csum_replace(
                        skb,
                        change.offset,
                        u64::from(change.old_ports),
                        u64::from(change.new_ports),
                        mangled | 4,
                    ) == 0)
        }
    }

    #[inline(always)]
    fn encapsulate<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        let (outer, ethertype) = if N >= 10 {
            (BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, ETHERTYPE_IPV6)
        } else {
            (BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, ETHERTYPE_IPV4)
        };
        let tunnel = match N % 5 {
            0 => 0,
            3 => BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
            _ => BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
        };
        let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO | outer | tunnel);
        let same = self.ethertype() == ethertype;
        // SAFETY: plain numbers.
        let made = unsafe {
            bpf_skb_adjust_room(self.context.cast(), N as i32 * 4, BPF_ADJ_ROOM_MAC, flags) == 0
        };
        made && (same || self.network == 0 || self.write(ETHERTYPE, &ethertype.to_be_bytes()))
            && self.store(self.network, header.as_ptr().cast(), N as u32 * 4)
    }

    #[inline(always)]
    fn push<const N: usize>(&mut self, header: &[u32; N]) -> bool {
        // SAFETY: plain numbers.
        let made = unsafe {
            bpf_skb_adjust_room(self.context.cast(), N as i32 * 4, BPF_ADJ_ROOM_MAC, 0) == 0
        };
        made && self.store(self.network, header.as_ptr().cast(), N as u32 * 4)
    }

    #[inline(always)]
    fn decapsulate(&mut self, length: u32, ethertype: u16) -> bool {
        let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
        let mut rest = length as i32;
        if ethertype != self.ethertype() {
            // Changes what the kernel takes the packet for, and its length by what the two headers differ.
            let protocol = u64::from(ethertype.to_be());
            // SAFETY: plain numbers.
            if unsafe { bpf_skb_change_proto(self.context.cast(), protocol as u16, 0) } != 0 {
                return false;
            }
            rest += if ethertype == ETHERTYPE_IPV6 { 20 } else { -20 };
            if self.network != 0 && !self.write(ETHERTYPE, &ethertype.to_be_bytes()) {
                return false;
            }
        }
        // SAFETY: plain numbers.
        unsafe { bpf_skb_adjust_room(self.context.cast(), -rest, BPF_ADJ_ROOM_MAC, flags) == 0 }
    }

    #[inline(always)]
    fn resize(&mut self, length: u32) -> bool {
        // SAFETY: plain numbers.
        unsafe { bpf_skb_change_tail(self.context.cast(), length, 0) == 0 }
    }

    #[inline(always)]
    fn route(&self, family: u32, destination: &[u32; 4], source: &[u32; 4], hop: &mut Hop) -> bool {
        stages::rvs_route(self.context, family, destination, source, hop) != 0
    }

    #[inline(always)]
    fn transmit(&mut self, hop: &Hop) -> Action {
        if !self.has_link_header() {
            return Action::Drop;
        }
        if self.is_local {
            self.mark_switched();
        }
        // SAFETY: plain numbers, and structures on the stack that the helpers only read.
        unsafe {
            if hop.macs_known != 0 {
                if !self.store(0, hop.macs.as_ptr().cast(), 12) {
                    return Action::Drop;
                }
                bpf_redirect(hop.ifindex, 0);
                return Action::Transmit;
            }
            let mut neighbour: bpf_redir_neigh = core::mem::zeroed();
            neighbour.nh_family = if hop.family == 6 { AF_INET6 } else { AF_INET };
            neighbour.__bindgen_anon_1.ipv6_nh = hop.address;
            let size = size_of::<bpf_redir_neigh>() as i32;
            bpf_redirect_neigh(hop.ifindex, core::ptr::from_mut(&mut neighbour), size, 0);
        }
        Action::Transmit
    }

    #[inline(always)]
    fn came_by(&self) -> u32 {
        // SAFETY: as in `packet_type`.
        unsafe { (*self.context).ifindex }
    }

    #[inline(always)]
    fn detour(&mut self, ifindex: u32, ticket: &[u32; 3]) -> Action {
        if !self.has_link_header() || !self.store(0, ticket.as_ptr().cast(), 12) {
            return Action::Drop;
        }
        // SAFETY: plain numbers.
        unsafe { bpf_redirect(ifindex, 0) };
        Action::Transmit
    }

    #[inline(always)]
    fn deliver(&mut self) -> Action {
        // SAFETY: as in `packet_type`.
        if unsafe { (*self.context).ifindex } == LOOPBACK {
            return Action::Pass;
        }
        if stages::rvs_deliver(self.context, self.network) == Action::Transmit as u32 {
            Action::Transmit
        } else {
            Action::Drop
        }
    }

    #[inline(always)]
    fn let_go(&mut self) -> Action {
        self.mark_switched();
        Action::Pass
    }

    #[inline(always)]
    fn bounce(&mut self) -> Action {
        if self.network != 0 {
            let Some(m) = self.read::<12>(0) else {
                return Action::Drop;
            };
            let back = [
                m[6], m[7], m[8], m[9], m[10], m[11], m[0], m[1], m[2], m[3], m[4], m[5],
            ];
            if !self.write(0, &back) {
                return Action::Drop;
            }
        }
        // SAFETY: plain numbers; the context is valid while the program runs.
        unsafe { bpf_redirect((*self.context).ifindex, 0) };
        Action::Transmit
    }
}

impl Decapsulator for Skb {
    #[inline(always)]
    fn is_virtual(&self, family: u8, address: &[u32; 4]) -> bool {
        let key = rvs_abi::AddressKey {
            address: *address,
            protocol: 0,
            family,
            port: 0,
        };
        maps::find_address(&key) & rvs_abi::service::address::VIRTUAL != 0
    }

    #[inline(always)]
    fn is_gue(&self, port: u16) -> bool {
        let key = rvs_abi::AddressKey {
            address: [0; 4],
            protocol: protocol::UDP,
            family: 0,
            port,
        };
        maps::find_address(&key) & rvs_abi::service::address::GUE != 0
    }

    #[inline(always)]
    fn count_decapsulated(&self, counter: Counter) {
        maps::count(counter);
    }
}

//! What the kernel side and user space share: the layout of every map, the cells that both may
//! change at once, the counters with their reasons, and a hash over all of it.
//!
//! Nothing here decides anything. A change of a layout changes [`LAYOUT`], and with it the
//! directory in which a director pins its maps, so two releases never read each other's bytes.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    allow(internal_features, reason = "the target's core has no atomics")
)]

pub mod call;
pub mod cell;
pub mod counter;
pub mod detour;
pub mod device;
pub mod fragment;
pub mod locality;
pub mod rule;
pub mod sequence;
pub mod server;
pub mod service;
pub mod settings;
pub mod slot;
pub mod sweep;

pub use call::{Call, CallKey};
pub use cell::{Word32, Word64};
pub use counter::{COUNTERS, Counter, Verdict};
pub use detour::Ticket;
pub use device::Device;
pub use fragment::{FragmentKey, FragmentNote};
pub use locality::{Locality, LocalityKey};
pub use rule::Rule;
pub use sequence::{Sequence, SequenceKey, Shift};
pub use server::{Encapsulation, Method, Server, ServerStats};
pub use service::{AddressKey, Scheduler, Service, ServiceKey};
pub use settings::{SctpState, Settings, TIMEOUTS, TcpState};
pub use slot::{Head, Role, Slot, Slot4, Slot6};

/// The longest list of servers that one service may have.
pub const MEMBERS_MAX: u32 = 1024;

/// Identifies the layouts of what one director takes over from another: FNV-1a over the sizes and a revision number.
///
/// The revision is raised by hand when a field of these changes its meaning without changing a size.
pub const COPIED: u32 = {
    const REVISION: u32 = 6;
    fnv1a(&[
        REVISION,
        size_of::<Slot4>() as u32,
        size_of::<Slot6>() as u32,
        size_of::<Server>() as u32,
        size_of::<Service>() as u32,
        size_of::<ServiceKey>() as u32,
        size_of::<Settings>() as u32,
        size_of::<ServerStats>() as u32,
        size_of::<Rule>() as u32,
        size_of::<Locality>() as u32,
        size_of::<Call>() as u32,
        size_of::<Sequence>() as u32,
    ])
};

/// Identifies the layouts of this release, what is of use to one director only included.
///
/// The revision is raised by hand when a field of these changes its meaning without changing a size.
pub const LAYOUT: u32 = {
    const REVISION: u32 = 5;
    fnv1a(&[
        COPIED,
        REVISION,
        size_of::<AddressKey>() as u32,
        COUNTERS as u32,
    ])
};

const fn fnv1a(parts: &[u32]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut i = 0;
    while i < parts.len() {
        hash = (hash ^ parts[i]).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash
}

/// The protocol numbers that the director switches (IANA).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IPv4 in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH.
    pub const AH: u8 = 51;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;

    /// The protocol number under which the connection table holds the templates of a protocol (0 for those of a
    /// firewall mark): one that no switched packet has.
    #[inline(always)]
    pub const fn of_template(protocol: u8) -> u8 {
        protocol ^ 0x40
    }

    /// The protocol number under which the connection table holds the templates of calls, which are found by a digest.
    #[inline(always)]
    pub const fn of_call(protocol: u8) -> u8 {
        protocol ^ 0x60
    }

    /// The protocol number under which the connection table holds connections of which the client's port is
    /// not known yet.
    #[inline(always)]
    pub const fn of_expected(protocol: u8) -> u8 {
        protocol ^ 0x20
    }
}

/// Places of the programs that `rvs_ingress` goes on with.
pub mod tail {
    /// `rvs_newcomer`.
    pub const NEWCOMER: u32 = 0;
    /// `rvs_icmp_error`.
    pub const ICMP_ERROR: u32 = 1;
    /// `rvs_express_v6`, which `rvs_express` goes on with, in an array of XDP's own.
    pub const EXPRESS_V6: u32 = 0;
    /// `rvs_fragment`.
    pub const FRAGMENT: u32 = 2;
    /// `rvs_persist`.
    pub const PERSIST: u32 = 8;
    /// `rvs_opened`.
    pub const OPENED: u32 = 9;
    /// `rvs_ftp`.
    pub const FTP: u32 = 5;
    /// `rvs_sip`.
    pub const SIP: u32 = 10;
    /// `rvs_started`.
    pub const STARTED: u32 = 11;
    /// `rvs_unfollowed`.
    pub const UNFOLLOWED: u32 = 3;
    /// `rvs_ipsec`.
    pub const IPSEC: u32 = 6;
    /// How many places there are.
    pub const PROGRAMS: u32 = 16;

    /// The programs by name, each with its place.
    pub const ALL: [(&str, u32); 10] = [
        ("rvs_newcomer", NEWCOMER),
        ("rvs_persist", PERSIST),
        ("rvs_opened", OPENED),
        ("rvs_icmp_error", ICMP_ERROR),
        ("rvs_unfollowed", UNFOLLOWED),
        ("rvs_ipsec", IPSEC),
        ("rvs_fragment", FRAGMENT),
        ("rvs_ftp", FTP),
        ("rvs_sip", SIP),
        ("rvs_started", STARTED),
    ];
}

/// Values of the `family` fields: the IP version.
pub mod family {
    /// IPv4.
    pub const V4: u8 = 4;
    /// IPv6.
    pub const V6: u8 = 6;
}

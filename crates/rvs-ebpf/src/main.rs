//! The kernel side: binds `rvs-core` to BPF contexts and maps. It decides nothing itself.
//!
//! Programs: `rvs_ingress` (tc, the whole way), which goes on by a tail call to `rvs_newcomer`,
//! `rvs_icmp_error`, `rvs_fragment`, `rvs_ftp`, `rvs_persist`, `rvs_sip`, `rvs_started`, `rvs_opened` and others (each
//! verified for itself, with a stack of its own); `rvs_local`, the same for
//! what the host itself sends; both once more, as `..._l3`, for interfaces without link header; `rvs_express` (XDP, the express way),
//! `rvs_decapsulate` (tc, on tunnel-mode real servers), and three that user space runs itself
//! (`BPF_PROG_TEST_RUN`): `rvs_sweep`, `rvs_insert`, `rvs_clock`.
//!
//! All `unsafe` of the packet path is in this crate: reading packet memory between `data` and
//! `data_end`, calling kernel helpers, and turning map pointers into references. The verifier
//! proves each access again at load time.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod insertion;
mod maps;
mod requests;
mod skb;
mod stages;
mod xdp;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::{classifier, xdp as xdp_program},
    programs::{TcContext, XdpContext},
};
use rvs_abi::Counter;
use rvs_core::{
    Action, Flow, decapsulate, director, express, fragments, ftp, icmp, ipsec, persist, sip,
};

/// Not ours: the next program of the chain goes on, and in the end the host's stack. The value is
/// that of `TCX_NEXT` and of `TC_ACT_UNSPEC`.
const NEXT: i32 = -1;
const REDIRECT: i32 = 7;
const PACKET_HOST: u32 = 0;

/// The director: everything that comes in on an interface.
#[classifier]
pub fn rvs_ingress(context: TcContext) -> i32 {
    ingress(context, skb::ETHERNET)
}

/// The director on an interface without link header (tun, wireguard).
#[classifier]
pub fn rvs_ingress_l3(context: TcContext) -> i32 {
    ingress(context, 0)
}

/// The director for what the host itself sends: on the loopback interface (as it comes in) and on others (as it
/// goes out).
#[classifier]
pub fn rvs_local(context: TcContext) -> i32 {
    local(context, skb::ETHERNET)
}

/// `rvs_local` on an interface without link header.
#[classifier]
pub fn rvs_local_l3(context: TcContext) -> i32 {
    local(context, 0)
}

#[inline(always)]
fn ingress(context: TcContext, network: u32) -> i32 {
    let path = skb::Skb::new(context.skb.skb);
    // Promiscuous interfaces and flooding switches show us frames for others.
    if path.packet_type() != PACKET_HOST {
        return NEXT;
    }
    if path.is_tagged() {
        maps::count(Counter::PassTagged);
        return NEXT;
    }
    direct(context, network, 0)
}

#[inline(always)]
fn local(context: TcContext, network: u32) -> i32 {
    let mut path = skb::Skb::new(context.skb.skb);
    if path.is_known() || path.is_tagged() {
        return NEXT;
    }
    direct(context, network, Flow::LOCAL)
}

#[inline(always)]
fn direct(context: TcContext, network: u32, flags: u8) -> i32 {
    let Some(flow) = maps::new_flow(network, flags) else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(director::direct(&mut path, flow))
}

/// The director, where `rvs_ingress` found no connection.
#[classifier]
pub fn rvs_newcomer(context: TcContext) -> i32 {
    let (Some(flow), Some(intent)) = (maps::flow(), maps::new_intent()) else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(director::newcomer(&mut path, flow, intent))
}

/// The director, where `rvs_newcomer` found a service with persistence.
#[classifier]
pub fn rvs_persist(context: TcContext) -> i32 {
    let (Some(flow), Some(intent), Some(key)) = (maps::flow(), maps::intent(), maps::cleared_key())
    else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(persist::persist(&mut path, flow, intent, key))
}

/// The director, where `rvs_newcomer` found a service that is persistent by Call-ID.
#[classifier]
pub fn rvs_sip(context: TcContext) -> i32 {
    let (Some(flow), Some(intent), Some(key)) = (maps::flow(), maps::intent(), maps::cleared_key())
    else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(sip::sip(&mut path, flow, intent, key))
}

/// The director, where `rvs_newcomer` found a packet of a real server of such a service.
#[classifier]
pub fn rvs_started(context: TcContext) -> i32 {
    let (Some(flow), Some(intent), Some(key), Some(turned)) = (
        maps::flow(),
        maps::intent(),
        maps::cleared_key(),
        maps::cleared_turned(),
    ) else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(sip::started(&mut path, flow, intent, key, turned))
}

/// The director, where `rvs_newcomer`, `rvs_persist` or `rvs_sip` has decided.
#[classifier]
pub fn rvs_opened(context: TcContext) -> i32 {
    let (Some(flow), Some(intent)) = (maps::flow(), maps::intent()) else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(director::opened(&mut path, flow, intent))
}

/// The director, where `rvs_ingress` found an ICMP error.
#[classifier]
pub fn rvs_icmp_error(context: TcContext) -> i32 {
    match maps::flow() {
        Some(flow) => verdict(director::icmp_error(
            &mut skb::Skb::of(context.skb.skb, flow),
            flow,
        )),
        None => NEXT,
    }
}

/// The director, where `rvs_icmp_error` found no connection.
#[classifier]
pub fn rvs_unfollowed(context: TcContext) -> i32 {
    let (Some(flow), Some(inner)) = (maps::flow(), maps::cleared_key()) else {
        return NEXT;
    };
    let mut path = skb::Skb::of(context.skb.skb, flow);
    verdict(icmp::unfollowed(&mut path, flow, inner))
}

/// The director, where `rvs_ingress` found AH or ESP.
#[classifier]
pub fn rvs_ipsec(context: TcContext) -> i32 {
    match maps::flow() {
        Some(flow) => verdict(ipsec::ipsec(&mut skb::Skb::of(context.skb.skb, flow), flow)),
        None => NEXT,
    }
}

/// The director, where `rvs_ingress` found a fragment.
#[classifier]
pub fn rvs_fragment(context: TcContext) -> i32 {
    match maps::flow() {
        Some(flow) => verdict(fragments::fragment(
            &mut skb::Skb::of(context.skb.skb, flow),
            flow,
        )),
        None => NEXT,
    }
}

/// The director, where `rvs_ingress` found an FTP control connection.
#[classifier]
pub fn rvs_ftp(context: TcContext) -> i32 {
    match maps::flow() {
        Some(flow) => verdict(ftp::control(&mut skb::Skb::of(context.skb.skb, flow), flow)),
        None => NEXT,
    }
}

/// What tc is told.
#[inline(always)]
fn verdict(action: u32) -> i32 {
    if action == Action::Transmit as u32 {
        REDIRECT
    } else if action == Action::Drop as u32 {
        TC_ACT_SHOT
    } else {
        NEXT
    }
}

/// The director's express way.
#[xdp_program]
pub fn rvs_express(context: XdpContext) -> u32 {
    let mut path = xdp::Xdp::new(context.ctx);
    if !path.is_for_us() {
        return xdp_action::XDP_PASS;
    }
    express_verdict(express::express(&mut path))
}

/// The express way, where `rvs_express` found IPv6.
#[xdp_program]
pub fn rvs_express_v6(context: XdpContext) -> u32 {
    express_verdict(express::express_v6(&mut xdp::Xdp::new(context.ctx)))
}

/// What XDP is told.
#[inline(always)]
fn express_verdict(action: Action) -> u32 {
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Transmit => xdp_action::XDP_REDIRECT,
    }
}

/// A tunnel-mode real server.
#[classifier]
pub fn rvs_decapsulate(context: TcContext) -> i32 {
    let mut packet = skb::Skb::new(context.skb.skb);
    if packet.packet_type() != PACKET_HOST || packet.is_tagged() {
        return NEXT;
    }
    match decapsulate::decapsulate(&mut packet) {
        Action::Drop => TC_ACT_SHOT,
        Action::Pass | Action::Transmit => NEXT,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

//! The table. One file a topic; names are sentences.

mod bypass;
mod cutting;
mod forwarding;
mod fragments;
mod ftp;
mod headers;
mod icmp;
mod icmp_schedule;
mod icmp_tunnels;
mod ipsec;
mod knobs;
mod local;
mod malformed;
mod mtu;
mod persistence;
mod refusals;
mod schedulers;
mod sctp;
mod services;
mod sip;
mod states;
mod tunnels;

use crate::Case;

/// Every case.
pub fn cases() -> Vec<Case> {
    [
        forwarding::cases(),
        bypass::cases(),
        services::cases(),
        schedulers::cases(),
        headers::cases(),
        states::cases(),
        knobs::cases(),
        persistence::cases(),
        sctp::cases(),
        sip::cases(),
        tunnels::cases(),
        mtu::cases(),
        icmp::cases(),
        icmp_schedule::cases(),
        icmp_tunnels::cases(),
        ipsec::cases(),
        local::cases(),
        cutting::cases(),
        fragments::cases(),
        ftp::cases(),
        refusals::cases(),
        malformed::cases(),
    ]
    .concat()
}

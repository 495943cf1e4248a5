//! Making the tables of dh, sh and mh. The daemon does that beside the published table, and publishes it whole.
//!
//! IPVS goes through the servers in the order of its list, newest first, so that two directors whose servers were
//! added in another order have another table. Here they go by address and port, except for exact services.

mod maglev;
mod shares;

use rvs_abi::{Scheduler, service::Region};

use super::hash;

/// A server that a table shall name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Address as it lies in a packet; IPv4 in the first word, zeros behind.
    pub address: [u32; 4],
    /// Port, in host order.
    pub port: u16,
    /// Its position in the service's list.
    pub position: u16,
    /// Its weight as the table shall see it: see [`weight`].
    pub weight: u32,
    turns: maglev::Turns,
}

impl Candidate {
    /// A server at `position` of the list.
    pub fn new(address: [u32; 4], port: u16, position: u16, weight: u32) -> Self {
        Self {
            address,
            port,
            position,
            weight,
            turns: maglev::Turns::default(),
        }
    }
}

/// The weight that a table sees of a server with this one, whose last that was not 0 is `last`. Who is quiesced keeps
/// its entries, so that the clients of all others stay where they are; IPVS's sh moves them.
pub fn weight(scheduler: Scheduler, exact: bool, weight: u32, last: u32) -> u32 {
    if weight == 0 && !(exact && scheduler == Scheduler::Sh) {
        last
    } else {
        weight
    }
}

/// A server's address as a table sees it, of a service of IPv6 or not. IPVS's mh sees the first word alone of an IPv6 server in
/// an IPv4 service (`ip_vs_mh_permutate`).
pub fn address(exact: bool, is_v6: bool, address: [u32; 4]) -> [u32; 4] {
    let [first, ..] = address;
    if exact && !is_v6 {
        [first, 0, 0, 0]
    } else {
        address
    }
}

/// The size of the table of IPVS's mh, as kernels are compiled by default.
pub const MAGLEV_EXACT: u32 = 4093;
/// The usual size of mh's table: a prime, 64 times the most servers.
pub const MAGLEV: u32 = 65537;
/// Buckets of IPVS's dh and sh.
const BUCKETS: u32 = 256;
/// The most buckets of dh and sh.
const BUCKETS_MAX: u32 = 16384;

/// How many entries the table of a service with `servers` servers has; 0 is none. `wanted` is mh's size.
pub fn size(scheduler: Scheduler, exact: bool, servers: usize, wanted: u32) -> u32 {
    if servers == 0 {
        return 0;
    }
    match scheduler {
        // 256 are not enough to give many servers their share, or any.
        Scheduler::Dh | Scheduler::Sh if !exact => {
            let buckets = u32::try_from(servers)
                .unwrap_or(u32::MAX)
                .saturating_mul(16);
            buckets.clamp(BUCKETS, BUCKETS_MAX).next_power_of_two()
        }
        Scheduler::Dh | Scheduler::Sh => BUCKETS,
        // Steps through a table of another size might not reach all of it.
        Scheduler::Mh if is_prime(wanted) => wanted.min(Region::TABLE_MAX),
        Scheduler::Mh => MAGLEV,
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Twos
        | Scheduler::Unscheduled => 0,
    }
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor: &u32| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The word of the members array that holds up to four entries.
pub fn word(entries: &[u16]) -> u64 {
    let entry = |place: usize| u64::from(entries.get(place).copied().unwrap_or(Region::NOBODY));
    entry(0) | entry(1) << 16 | entry(2) << 32 | entry(3) << 48
}

/// Fills a table. `candidates` are in the order of the list; they are reordered.
pub fn fill(scheduler: Scheduler, exact: bool, candidates: &mut [Candidate], entries: &mut [u16]) {
    if !exact {
        candidates.sort_unstable();
    }
    entries.fill(Region::NOBODY);
    match scheduler {
        Scheduler::Dh => shares::in_turn(candidates, entries),
        Scheduler::Sh if exact => shares::in_rows(candidates, entries),
        Scheduler::Sh => shares::by_weight(candidates, entries),
        Scheduler::Mh => maglev::fill(candidates, entries),
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Twos
        | Scheduler::Unscheduled => {}
    }
}

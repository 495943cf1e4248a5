//! Between rvs-config's words and the maps' words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use rvs_abi::{AddressKey, Word32, family};
use rvs_config::{Family, Method, Protocol, Scheduler, ServiceKey};

/// An address as it lies in a packet; IPv4 in the first word.
pub(crate) fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => {
            let octets = address.octets();
            std::array::from_fn(|i| u32::from_ne_bytes(std::array::from_fn(|j| octets[i * 4 + j])))
        }
    }
}

/// The address that words of a packet are.
pub(crate) fn address(words: [u32; 4], is_v6: bool) -> IpAddr {
    if is_v6 {
        let mut octets = [0; 16];
        for (place, word) in octets.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(octets).into()
    } else {
        Ipv4Addr::from(words[0].to_ne_bytes()).into()
    }
}

/// The words that shared memory holds.
pub(crate) fn load<const N: usize>(words: &[Word32; N]) -> [u32; 4] {
    std::array::from_fn(|i| words.get(i).map_or(0, Word32::load))
}

/// Writes words into shared memory.
pub(crate) fn store<const N: usize>(words: &[Word32; N], values: [u32; N]) {
    for (word, value) in words.iter().zip(values) {
        word.store(value);
    }
}

/// Address and port, the port as it lies in a packet.
pub(crate) fn socket_address(words: [u32; 4], port: u16, is_v6: bool) -> SocketAddr {
    SocketAddr::new(address(words, is_v6), u16::from_be(port))
}

/// The IP version of an address.
pub(crate) fn family_of(address: IpAddr) -> u8 {
    if address.is_ipv6() {
        family::V6
    } else {
        family::V4
    }
}

pub(crate) const fn family_number(of: Family) -> u8 {
    match of {
        Family::V4 => family::V4,
        Family::V6 => family::V6,
    }
}

/// A service's key in the service index.
pub(crate) fn service_key(key: &ServiceKey) -> rvs_abi::ServiceKey {
    match key {
        ServiceKey::Address(key) => rvs_abi::ServiceKey {
            address: words(key.address()),
            port: key.port().to_be(),
            protocol: key.protocol().number(),
            family: family_of(key.address()),
        },
        ServiceKey::Mark(mark) => rvs_abi::ServiceKey {
            address: [mark.number().get(), 0, 0, 0],
            port: 0,
            protocol: 0,
            family: family_number(mark.family()),
        },
    }
}

/// The service that has this key in the service index.
pub(crate) fn service_key_back(key: rvs_abi::ServiceKey) -> Option<ServiceKey> {
    let is_v6 = key.family == family::V6;
    if key.protocol == 0 {
        let family = if is_v6 { Family::V6 } else { Family::V4 };
        return Some(ServiceKey::mark(NonZeroU32::new(key.address[0])?, family));
    }
    let protocol = Protocol::from_number(key.protocol)?;
    ServiceKey::new(
        protocol,
        address(key.address, is_v6),
        u16::from_be(key.port),
    )
    .ok()
}

/// An address in the address index.
pub(crate) fn address_key(of: IpAddr, protocol: u8) -> AddressKey {
    AddressKey {
        address: words(of),
        protocol,
        family: family_of(of),
        port: 0,
    }
}

pub(crate) const fn scheduler(of: Scheduler) -> rvs_abi::Scheduler {
    match of {
        Scheduler::Rr => rvs_abi::Scheduler::Rr,
        Scheduler::Wrr => rvs_abi::Scheduler::Wrr,
        Scheduler::Lc => rvs_abi::Scheduler::Lc,
        Scheduler::Wlc => rvs_abi::Scheduler::Wlc,
        Scheduler::Dh => rvs_abi::Scheduler::Dh,
        Scheduler::Sh => rvs_abi::Scheduler::Sh,
        Scheduler::Lblc => rvs_abi::Scheduler::Lblc,
        Scheduler::Lblcr => rvs_abi::Scheduler::Lblcr,
        Scheduler::Sed => rvs_abi::Scheduler::Sed,
        Scheduler::Nq => rvs_abi::Scheduler::Nq,
        Scheduler::Mh => rvs_abi::Scheduler::Mh,
        Scheduler::Fo => rvs_abi::Scheduler::Fo,
        Scheduler::Ovf => rvs_abi::Scheduler::Ovf,
        Scheduler::Twos => rvs_abi::Scheduler::Twos,
        Scheduler::None => rvs_abi::Scheduler::Unscheduled,
    }
}

pub(crate) fn scheduler_back(number: u32) -> Option<Scheduler> {
    Scheduler::ALL
        .into_iter()
        .find(|known| scheduler(*known) as u32 == number)
}

pub(crate) fn method(of: Method) -> rvs_abi::Method {
    match of {
        Method::Nat => rvs_abi::Method::Nat,
        Method::Tunnel => rvs_abi::Method::Tunnel,
        Method::Direct => rvs_abi::Method::Direct,
    }
}

pub(crate) fn method_back(number: u32) -> Option<Method> {
    match rvs_abi::Method::from_number(number)? {
        rvs_abi::Method::Nat => Some(Method::Nat),
        rvs_abi::Method::Tunnel => Some(Method::Tunnel),
        rvs_abi::Method::Direct => Some(Method::Direct),
        rvs_abi::Method::Local | rvs_abi::Method::Bypass => None,
    }
}

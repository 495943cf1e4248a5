//! What leaves the director, looked at by etherparse: checksums are what a full computation gives, and
//! NAT there and back is the identity.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Header, Icmpv6Header, NetHeaders, PacketHeaders, TransportHeader};
use proptest::prelude::*;
use rvs_abi::Method;
use rvs_core::Action;
use rvs_fixtures::{
    Frame, Memory, Native, NativeEngine, Recipe, Surroundings, World, ip_bytes, place::Family,
};

/// A packet that begins a connection, and the service that it asks for.
#[derive(Clone, Debug)]
struct Request {
    recipe: Recipe,
    service: (IpAddr, u16),
    client: (IpAddr, u16),
    protocol: u8,
    server_port: u16,
}

fn request() -> impl Strategy<Value = Request> {
    let addresses = (any::<bool>(), any::<u8>(), any::<u64>(), any::<u128>());
    let rest = (
        any::<[u16; 3]>(),
        any::<bool>(),
        3..=255_u8,
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 0..300),
        any::<[bool; 3]>(),
        any::<[u8; 8]>(),
    );
    (addresses, rest).prop_map(
        |((v6, host, tail, vip), (ports, tcp, ttl, tos, payload, flags, options))| {
            let (client, vip): (IpAddr, IpAddr) = if v6 {
                let net =
                    u128::from_be_bytes(Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0).octets());
                (
                    Ipv6Addr::from(net | u128::from(tail)).into(),
                    Ipv6Addr::from(vip).into(),
                )
            } else {
                (
                    Ipv4Addr::new(203, 0, 113, host).into(),
                    Ipv4Addr::from(vip as u32).into(),
                )
            };
            let (client, service) = ((client, ports[0]), (vip, ports[1]));
            let mut recipe = if tcp {
                Recipe::tcp(client, service, "S").tcp_options(if flags[0] { &options } else { &[] })
            } else {
                Recipe::udp(client, service)
            }
            .payload(&payload)
            .ttl(ttl)
            .tos(tos);
            if !tcp && !v6 && flags[1] {
                recipe = recipe.without_checksum();
            }
            if flags[2] {
                recipe = if v6 {
                    recipe.extension(60, &[1, 4, 0, 0, 0, 0])
                } else {
                    recipe.may_fragment().ip_options(&options)
                };
            }
            Request {
                recipe,
                service,
                client,
                protocol: if tcp { 6 } else { 17 },
                server_port: ports[2].max(1),
            }
        },
    )
}

impl Request {
    fn world(&self, method: Method) -> World {
        World::new()
            .service(self.service.0, self.service.1, self.protocol)
            .server(0, method)
            .but(|server| server.port = self.server_port)
    }

    fn family(&self) -> Family {
        self.recipe.family()
    }
}

fn direct(memory: &Memory, bytes: &[u8]) -> (u32, Vec<u8>) {
    let frame = Frame::with_place_routes(bytes, &Surroundings::default());
    let mut native = Native { frame, memory };
    let action = native.direct();
    (action, native.frame.bytes().to_vec())
}

const TRANSMIT: u32 = Action::Transmit as u32;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nat_there_and_back_is_the_identity(request in request()) {
        let memory = request.world(Method::Nat).memory(&Surroundings::default());
        let input = request.recipe.frame();
        let (action, there) = direct(&memory, &input);
        prop_assert_eq!(action, TRANSMIT);
        let expected = request.recipe.clone().aged()
            .destination((request.family().server(0), request.server_port))
            .to_server(0)
            .frame();
        prop_assert_eq!(&there, &expected);
        // The server answers with just the same bytes, turned round.
        let (action, back) = direct(&memory, &turned(&there, request.protocol));
        prop_assert_eq!(action, TRANSMIT);
        let expected = turned(&request.recipe.clone().aged().aged().frame(), request.protocol);
        prop_assert_eq!(ip_bytes(&back), ip_bytes(&expected));
    }

    #[test]
    fn checksums_are_what_a_full_computation_gives(
        request in request(),
        method in prop::sample::select(vec![Method::Nat, Method::Tunnel, Method::Direct]),
    ) {
        let memory = request.world(method).memory(&Surroundings::default());
        let (action, output) = direct(&memory, &request.recipe.frame());
        prop_assert_eq!(action, TRANSMIT);
        if method == Method::Tunnel {
            let outer = if request.family() == Family::V6 { 40 } else { 20 };
            if request.family() == Family::V4 {
                let (header, _) = etherparse::Ipv4Header::from_slice(ip_bytes(&output)).expect("a header");
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert_eq!(usize::from(header.total_len), ip_bytes(&output).len());
            }
            verify(&ip_bytes(&output)[outer..])?;
        } else {
            verify(ip_bytes(&output))?;
        }
    }

    #[test]
    fn answers_checksums_are_what_a_full_computation_gives(request in request(), small in 1..60_u32) {
        let world = request.world(Method::Direct);
        let too_small = ip_bytes(&request.recipe.frame()).len() as u32 - small.min(20);
        for (recipe, world) in [
            (request.recipe.clone().ttl(1), world.clone()),
            (request.recipe.clone(), World::new().service(request.service.0, request.service.1, request.protocol)),
            (request.recipe.clone(), world.but(|server| server.mtu = too_small)),
        ] {
            let memory = world.memory(&Surroundings::default());
            let (action, output) = direct(&memory, &recipe.frame());
            if action != TRANSMIT {
                // Too big, and may be fragmented.
                prop_assert_eq!(action, Action::Drop as u32);
                continue;
            }
            verify(ip_bytes(&output))?;
            let headers = PacketHeaders::from_ip_slice(ip_bytes(&output)).expect("an IP packet");
            let quoted = headers.payload.slice();
            let whole = recipe.ip();
            let balance = quoted.len() - 4;
            prop_assert_eq!(&quoted[..balance], &whole[..balance]);
            let (before, after) = filled_in(quoted, request.protocol);
            prop_assert!(before == after || before == 0, "{before:04x} becomes {after:04x}");
            prop_assert!(addressed_to(&headers, request.client.0));
        }
    }

    #[test]
    fn the_table_of_the_native_engine_serves_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let world = World::new().service(Family::V4.vip(0), 80, 6).server(0, Method::Nat);
        let engine = NativeEngine::new(&world, rvs_fixtures::Mode::Whole);
        let (action, _) = direct(engine.memory(), &bytes);
        prop_assert!(action <= TRANSMIT);
    }
}

/// Source and destination exchanged, which no checksum notices, as the frame comes from server 0.
fn turned(frame: &[u8], protocol: u8) -> Vec<u8> {
    let mut turned = frame.to_vec();
    let (source, destination, length, transport) = if frame[12] == 8 {
        (26, 30, 4, 14 + usize::from(frame[14] & 15) * 4)
    } else {
        // At most one extension header of eight bytes.
        (22, 38, 16, if frame[20] == protocol { 54 } else { 62 })
    };
    turned[source..source + length].copy_from_slice(&frame[destination..destination + length]);
    turned[destination..destination + length].copy_from_slice(&frame[source..source + length]);
    turned[transport..transport + 2].copy_from_slice(&frame[transport + 2..transport + 4]);
    turned[transport + 2..transport + 4].copy_from_slice(&frame[transport..transport + 2]);
    turned
}

/// The TCP or UDP checksum that a quote has, and what becomes of it where the packet was one whose checksum was still to
/// be filled in: the sum of all from the transport header on, its own place included.
fn filled_in(quoted: &[u8], protocol: u8) -> (u16, u16) {
    let transport = match quoted[0] >> 4 {
        4 => usize::from(quoted[0] & 15) * 4,
        // At most one extension header of eight bytes.
        _ if quoted[6] == protocol => 40,
        _ => 48,
    };
    let mut sum: u32 = quoted[transport..]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let place = transport + if protocol == 6 { 16 } else { 6 };
    let before = u16::from_be_bytes([quoted[place], quoted[place + 1]]);
    let after = match !(sum as u16) {
        0 => 0xffff,
        sum => sum,
    };
    (before, after)
}

fn addressed_to(headers: &PacketHeaders<'_>, client: IpAddr) -> bool {
    match (&headers.net, client) {
        (Some(NetHeaders::Ipv4(ip, _)), IpAddr::V4(client)) => ip.destination == client.octets(),
        (Some(NetHeaders::Ipv6(ip, _)), IpAddr::V6(client)) => ip.destination == client.octets(),
        _ => false,
    }
}

/// Computes every checksum of an IP packet anew.
fn verify(packet: &[u8]) -> Result<(), TestCaseError> {
    let headers = PacketHeaders::from_ip_slice(packet).expect("an IP packet");
    let payload = headers.payload.slice();
    match (&headers.net, &headers.transport) {
        (Some(NetHeaders::Ipv4(ip, _)), transport) => {
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            match transport {
                Some(TransportHeader::Tcp(tcp)) => {
                    prop_assert_eq!(
                        tcp.checksum,
                        tcp.calc_checksum_ipv4(ip, payload).expect("short")
                    );
                }
                Some(TransportHeader::Udp(udp)) if udp.checksum == 0 => {}
                Some(TransportHeader::Udp(udp)) => {
                    prop_assert_eq!(
                        udp.checksum,
                        udp.calc_checksum_ipv4(ip, payload).expect("short")
                    );
                }
                Some(TransportHeader::Icmpv4(icmp)) => {
                    let whole = Icmpv4Header::with_checksum(icmp.icmp_type.clone(), payload);
                    prop_assert_eq!(icmp.checksum, whole.checksum);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        (Some(NetHeaders::Ipv6(ip, _)), transport) => match transport {
            Some(TransportHeader::Tcp(tcp)) => {
                prop_assert_eq!(
                    tcp.checksum,
                    tcp.calc_checksum_ipv6(ip, payload).expect("short")
                );
            }
            Some(TransportHeader::Udp(udp)) => {
                prop_assert_eq!(
                    udp.checksum,
                    udp.calc_checksum_ipv6(ip, payload).expect("short")
                );
            }
            Some(TransportHeader::Icmpv6(icmp)) => {
                let kind = icmp.icmp_type;
                let whole = Icmpv6Header::with_checksum(kind, ip.source, ip.destination, payload);
                prop_assert_eq!(icmp.checksum, whole.expect("short").checksum);
            }
            other => prop_assert!(false, "{:?}", other),
        },
        other => prop_assert!(false, "{:?}", other),
    }
    Ok(())
}

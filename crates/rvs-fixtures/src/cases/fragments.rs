//! Fragments: those of a service are dropped, all others go on.

use rvs_abi::{Counter, Method};

use super::forwarding::{first, one};
use crate::{Case, Recipe, Step, place::Family};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for (protocol, other) in [(6, 17), (17, 6)] {
            let client = (family.client(), 40000);
            let nat = one(family, protocol, Method::Nat);
            let direct = one(family, protocol, Method::Direct);
            let of = |protocol: u8, from, to| {
                if protocol == 6 {
                    Recipe::tcp(from, to, "A")
                } else {
                    Recipe::udp(from, to)
                }
                .payload(&[7; 64])
            };
            let each = |packet: &Recipe| {
                [(0, true), (8, true), (8, false)]
                    .map(|(offset, more)| packet.clone().fragment(offset, more))
            };
            let drops = |packet: &Recipe| {
                each(packet).map(|fragment| Step::drops(&fragment, Counter::DropFragment))
            };
            let passes = |packet: &Recipe| {
                each(packet).map(|fragment| Step::passes(&fragment, Counter::PassFragment))
            };
            let name = |text: &str| format!("{}, protocol {protocol}: {text}", family.name());
            let vip = (family.vip(0), 80);
            let server = (family.server(0), 8080);
            cases.push(Case::new(
                name("fragments for a service are dropped"),
                &nat,
                drops(&of(protocol, client, vip)).to_vec(),
            ));
            cases.push(Case::new(
                name("fragments from a NAT server are dropped"),
                &nat,
                drops(&of(protocol, server, client).from_server(0)).to_vec(),
            ));
            cases.push(Case::new(
                name("fragments that concern no service go on"),
                &nat,
                [
                    passes(&of(protocol, client, server)),
                    passes(&of(protocol, client, (family.vip(1), 80))),
                    passes(&of(other, client, vip)),
                    passes(&of(protocol, vip, client).from_server(0)),
                ]
                .concat(),
            ));
            cases.push(Case::new(
                name("fragments from a direct-routing server's own address go on"),
                &direct,
                passes(&of(protocol, server, client).from_server(0)).to_vec(),
            ));
        }
    }
    let tiny = first(Family::V4, 17).fragment(1, false).payload(b"tail");
    cases.push(Case::new(
        "a fragment too short for a header is a fragment",
        &one(Family::V4, 17, Method::Nat),
        vec![Step::drops(&tiny, Counter::DropFragment)],
    ));
    cases
}

//! Tunnels of every kind, through either family: what goes before the packet, what fits, which class and
//! which don't-fragment bit the outer header has.

use rvs_abi::{Counter, Method, Settings};
use rvs_core::Tables as _;

use super::{
    forwarding::{first, name_of, next},
    mtu::{Error, error},
};
use crate::{Case, Recipe, Step, World, place::Family, recipe::Outer};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for through in Family::ALL {
            for outer in Outer::ALL {
                if family == through && outer == Outer::Bare {
                    // The plain tunnel has its cases among the methods.
                    continue;
                }
                let kind = Kind {
                    family,
                    through,
                    outer,
                };
                for protocol in [6, 17] {
                    cases.push(kind.forwards(protocol));
                }
                cases.push(kind.is_full());
                cases.push(kind.classes());
            }
            let kind = Kind {
                family,
                through,
                outer: Outer::Gue { checksum: true },
            };
            cases.push(kind.sums());
            cases.push(kind.super_packet());
            let kind = Kind {
                outer: Outer::Gre { checksum: true },
                ..kind
            };
            cases.push(kind.sums());
            cases.push(kind.super_packet());
        }
    }
    cases.push(without_discovery());
    cases
}

struct Kind {
    family: Family,
    through: Family,
    outer: Outer,
}

impl Kind {
    fn name(&self, text: &str) -> String {
        let (inner, outer) = (self.family.name(), self.through.name());
        format!("{inner} in {outer}, {:?}: {text}", self.outer)
    }

    fn world(&self, protocol: u8) -> World {
        World::new()
            .service(self.family.vip(0), 80, protocol)
            .server(0, Method::Tunnel)
            .but(|server| {
                server.is_mixed = self.family != self.through;
                server.tunnel = self.outer.word();
            })
    }

    fn sent(&self, packet: &Recipe) -> Recipe {
        packet.clone().aged().to_server(0).wrapped_in(
            self.through.own(),
            self.through.server(0),
            self.outer,
        )
    }

    fn step(&self, packet: &Recipe) -> Step {
        Step::request(packet, 0, &self.sent(packet))
    }

    fn open(&self, protocol: u8) -> Step {
        let counts = if protocol == 6 { (1, 0) } else { (0, 1) };
        self.step(&first(self.family, protocol))
            .opens(0, counts.0, counts.1)
    }

    fn forwards(&self, protocol: u8) -> Case {
        let next = next(self.family, protocol);
        let steps = vec![
            self.open(protocol),
            self.step(&next),
            self.step(&next.clone().payload(b"odd")),
            self.step(&next.payload(b"even")),
        ];
        let name = format!("{} goes into the tunnel", name_of(protocol));
        Case::new(self.name(&name), &self.world(protocol), steps)
    }

    /// The largest packet that fits, and one that does not.
    fn is_full(&self) -> Case {
        let header = match self.through {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        let room = 1500 - header - self.outer.length();
        let largest = next(self.family, 6).sized(room as usize);
        let larger = next(self.family, 6).sized(room as usize + 1);
        let answer = error(
            self.family.vip(0),
            self.family.client(),
            &larger,
            6,
            &Error::TooBig(room),
        );
        let steps = vec![
            self.open(6),
            self.step(&largest),
            Step::answers(&larger, &answer, &[Counter::AnswerTooBig]),
        ];
        Case::new(
            self.name("the client is told what fits"),
            &self.world(6),
            steps,
        )
    }

    /// The class is taken over; "congestion experienced" is not.
    fn classes(&self) -> Case {
        let packet = |tos| first(self.family, 17).tos(tos);
        let marked = packet(0xb8 | 3);
        let sent = self.sent(&marked).tos(0xb8 | 2);
        let steps = vec![
            self.step(&packet(0xb8)).opens(0, 0, 1),
            self.step(&packet(1)),
            self.step(&packet(2)),
            Step::request(&marked, 0, &sent),
        ];
        Case::new(self.name("the class"), &self.world(17), steps)
    }

    /// The outer checksum is made from the inner one, where there is one.
    fn sums(&self) -> Case {
        let unchecked = Kind {
            outer: self.unchecked(),
            ..*self
        };
        let mut steps = vec![self.open(17)];
        for length in [0, 1, 2, 3, 63, 1301] {
            let payload: Vec<u8> = (0..length).map(|i| (i * 31) as u8).collect();
            let packet = next(self.family, 17).payload(&payload);
            steps.push(self.step(&packet));
            let other = if self.family == Family::V4 {
                steps.push(self.step(&packet.clone().ip_options(&[1, 1, 1, 0])));
                packet.without_checksum()
            } else {
                packet.extension(0, &[1, 4, 0, 0, 0, 0])
            };
            steps.push(unchecked.step(&other).counts(&[Counter::TunnelUnchecked]));
        }
        Case::new(
            self.name("packets without a checksum have none outside either"),
            &self.world(17),
            steps,
        )
    }

    /// The same without checksum.
    fn unchecked(&self) -> Outer {
        match self.outer {
            Outer::Gue { .. } => Outer::Gue { checksum: false },
            Outer::Gre { .. } | Outer::Bare => Outer::Gre { checksum: false },
        }
    }

    /// A super-packet has no outer checksum.
    fn super_packet(&self) -> Case {
        let packet = next(self.family, 6).payload(&[7; 3000]);
        let sent = Kind {
            outer: self.unchecked(),
            ..*self
        }
        .sent(&packet);
        let headers = match self.family {
            Family::V4 => 40,
            Family::V6 => 60,
        };
        let steps = vec![
            self.open(6),
            Step::sends(&packet, &sent)
                .segmented(3, 1000)
                .moves(0, |stats, bytes| {
                    stats.packets_in += 3;
                    stats.bytes_in += bytes + 2 * headers;
                })
                .counts(&[Counter::TunnelUnchecked]),
        ];
        Case::new(
            self.name("a super-packet goes without the outer checksum"),
            &self.world(6),
            steps,
        )
        .native_only(
            "a test run's super-packets have no gso_type; room is only made in those that have",
        )
    }
}

/// `pmtu_disc` off: the outer header may be fragmented whatever the inner one says.
fn without_discovery() -> Case {
    let family = Family::V4;
    let packet = first(family, 17);
    let world = World::new()
        .service(family.vip(0), 80, 17)
        .server(0, Method::Tunnel)
        .without(Settings::PMTU_DISC);
    let identification = world.memory(&crate::Surroundings::default()).random() as u16;
    let sent = packet
        .clone()
        .aged()
        .to_server(0)
        .wrapped(family.own(), family.server(0))
        .may_fragment()
        .identification(identification.to_be());
    Case::new(
        "IPv4 in IPv4, without path MTU discovery: the outer header may be fragmented",
        &world,
        vec![Step::request(&packet, 0, &sent).opens(0, 0, 1)],
    )
}

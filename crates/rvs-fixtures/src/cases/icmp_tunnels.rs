//! ICMP errors about the director's own tunnel packets: dug out, and told to the client.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Type, Icmpv6Type,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
    icmpv6::{self, DestUnreachableCode},
};
use rvs_abi::{Counter, Method};

use super::forwarding::{first, next};
use crate::{
    Case, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
    recipe::Outer,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for through in Family::ALL {
            for outer in Outer::ALL {
                let kind = Kind {
                    family,
                    through,
                    outer,
                };
                cases.push(kind.too_big());
                cases.push(kind.others());
            }
            let kind = Kind {
                family,
                through,
                outer: Outer::Bare,
            };
            cases.push(kind.of_nobody());
            cases.push(kind.hardly());
            cases.push(kind.limited());
        }
    }
    cases.push(may_be_fragmented());
    cases
}

/// What is in what.
#[derive(Clone, Copy)]
struct Kind {
    family: Family,
    through: Family,
    outer: Outer,
}

/// What a router says.
#[derive(Clone, Copy)]
enum Says {
    TooBig(u32),
    Unreachable,
    TimeExceeded,
}

fn error(family: Family, from: IpAddr, to: IpAddr, says: Says, quote: &[u8]) -> Recipe {
    match family {
        Family::V4 => {
            let kind = match says {
                Says::TooBig(mtu) => {
                    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
                        next_hop_mtu: mtu as u16,
                    })
                }
                Says::Unreachable => {
                    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host)
                }
                Says::TimeExceeded => {
                    Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit)
                }
            };
            Recipe::icmp4(from, to, kind, quote)
        }
        Family::V6 => {
            let kind = match says {
                Says::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu },
                Says::Unreachable => {
                    Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Address)
                }
                Says::TimeExceeded => {
                    Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded)
                }
            };
            Recipe::icmp6(from, to, kind, quote)
        }
    }
}

impl Kind {
    fn case(&self, text: &str, steps: Vec<Step>) -> Case {
        let (inner, outer) = (self.family.name(), self.through.name());
        let name = format!("{inner} in {outer}, {:?}: {text}", self.outer);
        Case::new(name, &self.world(), steps)
    }

    fn world(&self) -> World {
        World::new()
            .service(self.family.vip(0), 80, 17)
            .server(0, Method::Tunnel)
            .but(|server| {
                server.is_mixed = self.family != self.through;
                server.tunnel = self.outer.word();
            })
    }

    fn overhead(&self) -> u32 {
        let header = match self.through {
            Family::V4 => 20,
            Family::V6 => 40,
        };
        header + self.outer.length()
    }

    /// A packet as it is in the tunnel.
    fn sent(&self, packet: &Recipe) -> Recipe {
        packet.clone().aged().to_server(0).wrapped_in(
            self.through.own(),
            self.through.server(0),
            self.outer,
        )
    }

    fn open(&self) -> Step {
        let packet = first(self.family, 17);
        Step::request(&packet, 0, &self.sent(&packet)).opens(0, 0, 1)
    }

    /// A router behind server 1's link address about `packet` in the tunnel.
    fn says(&self, says: Says, packet: &Recipe) -> Recipe {
        error(
            self.through,
            self.through.server(1),
            self.through.own(),
            says,
            &self.sent(packet).ip(),
        )
        .from_server(1)
    }

    /// What the client hears.
    fn heard(&self, says: Says, packet: &Recipe) -> Recipe {
        let mut quote = packet.clone().aged().ip();
        let headers = match self.family {
            Family::V4 => 28,
            Family::V6 => 48,
        };
        quote.truncate(if quote.len() >= headers + 40 {
            headers + 40
        } else {
            headers
        });
        let answer = error(
            self.family,
            self.family.vip(0),
            self.family.client(),
            says,
            &quote,
        );
        match self.family {
            Family::V4 => answer.tos(0xc0).identification(0),
            Family::V6 => answer,
        }
        .to_client(CLIENT_MAC)
    }

    fn told(&self, says: Says, packet: &Recipe, counters: &[Counter]) -> Step {
        let quoted = packet.ip().len() as u64;
        Step::sends(&self.says(says, packet), &self.heard(says, packet))
            .counts(&[Counter::IcmpForward])
            .counts(counters)
            .moves(0, |stats, _| {
                stats.packets_out += 1;
                stats.bytes_out += quoted;
            })
    }

    /// What fits is remembered, and the next packet that is too large does not leave.
    fn too_big(&self) -> Case {
        let room = 1400 - self.overhead();
        let large = next(self.family, 17).sized(room as usize + 1);
        let fits = next(self.family, 17).sized(room as usize);
        let what = super::mtu::Error::TooBig(room);
        let (vip, client) = (self.family.vip(0), self.family.client());
        let relayed = |mtu, counters: &[Counter]| {
            let step = Step::sends(
                &self.says(Says::TooBig(mtu), &large),
                &self.heard(Says::TooBig(room), &large),
            );
            step.counts(&[Counter::IcmpForward, Counter::AnswerTooBig])
                .counts(counters)
                .moves(0, |stats, _| {
                    stats.packets_out += 1;
                    stats.bytes_out += u64::from(room) + 1;
                })
        };
        let steps = vec![
            self.open(),
            Step::request(&large, 0, &self.sent(&large)),
            relayed(1400, &[Counter::PathMtu]),
            // Packets that were on their way.
            relayed(1400, &[]),
            relayed(1450, &[]),
            Step::answers(
                &large,
                &super::mtu::error(vip, client, &large, 17, &what),
                &[Counter::AnswerTooBig],
            ),
            Step::request(&fits, 0, &self.sent(&fits)),
        ];
        self.case(
            "too big for the path is told to the client, and kept",
            steps,
        )
    }

    fn others(&self) -> Case {
        let packet = next(self.family, 17).payload(&[7; 100]);
        let steps = vec![
            self.open(),
            Step::request(&packet, 0, &self.sent(&packet)),
            self.told(Says::TimeExceeded, &packet, &[]),
            self.told(Says::Unreachable, &packet, &[]),
            Step::request(&packet, 0, &self.sent(&packet)),
        ];
        self.case("other errors are told to the client", steps)
    }

    /// What is about no tunnel packet of a known connection is the host's.
    fn of_nobody(&self) -> Case {
        let packet = next(self.family, 17);
        let other = packet.clone().port(1);
        let whole = self.sent(&packet).ip();
        let says = |from: IpAddr, to: IpAddr, quote: &[u8]| {
            error(self.through, from, to, Says::TooBig(1400), quote).from_server(1)
        };
        let (router, own) = (self.through.server(1), self.through.own());
        let to_another = packet
            .clone()
            .aged()
            .wrapped_in(own, self.through.server(2), self.outer)
            .ip();
        let from_another = packet
            .clone()
            .aged()
            .wrapped_in(router, self.through.server(0), self.outer)
            .ip();
        let mut steps = vec![
            self.open(),
            Step::passes(&self.says(Says::TooBig(1400), &other), Counter::PassIcmp),
            Step::passes(&says(router, own, &to_another), Counter::PassIcmp),
            Step::passes(&says(router, own, &from_another), Counter::PassIcmp),
            Step::passes(
                &says(router, self.through.own_wan(), &whole),
                Counter::PassIcmp,
            ),
        ];
        for length in [8, 20, 28, 40, 48, 60] {
            if length < self.overhead() as usize + if self.family == Family::V4 { 24 } else { 44 } {
                steps.push(Step::passes(
                    &says(router, own, &whole[..length]),
                    Counter::PassIcmp,
                ));
            }
        }
        // Nothing was believed.
        let large = next(self.family, 17).sized(1500 - self.overhead() as usize);
        steps.push(Step::request(&large, 0, &self.sent(&large)));
        self.case(
            "errors about no tunnel packet of ours go on to the host",
            steps,
        )
    }

    /// An MTU below what every host takes is not believed as it is.
    fn hardly(&self) -> Case {
        let least = match self.through {
            Family::V4 => 552,
            Family::V6 => 1280,
        };
        let room = least - self.overhead();
        let large = next(self.family, 17).sized(room as usize + 1);
        let fits = next(self.family, 17).sized(room as usize);
        let step = Step::sends(
            &self.says(Says::TooBig(68), &large),
            &self.heard(Says::TooBig(room), &large),
        )
        .counts(&[
            Counter::IcmpForward,
            Counter::AnswerTooBig,
            Counter::PathMtu,
        ])
        .moves(0, |stats, _| {
            stats.packets_out += 1;
            stats.bytes_out += u64::from(room) + 1;
        });
        let steps = vec![
            self.open(),
            step,
            Step::request(&fits, 0, &self.sent(&fits)),
        ];
        self.case("an MTU that is no MTU counts as the least there is", steps)
    }

    fn limited(&self) -> Case {
        let packet = next(self.family, 17);
        let dropped = |says, counters: &[Counter]| {
            let bytes = packet.ip().len() as u64;
            Step::frame_drops(self.says(says, &packet).frame(), Counter::IcmpForward)
                .counts(&[Counter::IcmpLimited])
                .counts(counters)
                .moves(0, |stats, _| {
                    stats.packets_out += 1;
                    stats.bytes_out += bytes;
                })
        };
        let steps = vec![
            self.open(),
            dropped(Says::TooBig(1400), &[Counter::PathMtu, Counter::DropTooBig]),
            dropped(Says::TimeExceeded, &[]),
        ];
        let mut case = self.case("what is told of tunnels is limited", steps);
        case.world.icmp_burst = 0;
        case
    }
}

/// Routers may fragment such a packet, so the path's MTU is none of its client's business.
fn may_be_fragmented() -> Case {
    let kind = Kind {
        family: Family::V4,
        through: Family::V4,
        outer: Outer::Bare,
    };
    let world = kind.world();
    let whole = next(Family::V4, 17).sized(1400);
    let packet = whole.clone().may_fragment();
    let identification = {
        use rvs_core::Tables as _;
        let memory = world.memory(&crate::Surroundings::default());
        memory.random() as u16
    };
    let sent = kind.sent(&packet).identification(identification.to_be());
    let quench = Icmpv4Type::Unknown {
        type_u8: 4,
        code_u8: 0,
        bytes5to8: [0; 4],
    };
    let transit = TimeExceededCode::FragmentReassemblyTimeExceeded;
    let says = |what: Icmpv4Type| {
        let (from, to) = (Family::V4.server(1), Family::V4.own());
        Recipe::icmp4(from, to, what, &kind.sent(&whole).ip()).from_server(1)
    };
    let heard = |what: Icmpv4Type| {
        let quote = &whole.clone().aged().ip()[..68];
        Recipe::icmp4(Family::V4.vip(0), Family::V4.client(), what, quote)
            .tos(0xc0)
            .identification(0)
            .to_client(CLIENT_MAC)
    };
    let relays = |what: Icmpv4Type| {
        Step::sends(&says(what.clone()), &heard(what))
            .counts(&[Counter::IcmpForward])
            .moves(0, |stats, _| {
                stats.packets_out += 1;
                stats.bytes_out += 1400;
            })
    };
    let unfit = Step::frame_drops(
        kind.says(Says::TooBig(1300), &packet).frame(),
        Counter::IcmpForward,
    )
    .counts(&[Counter::PathMtu])
    .moves(0, |stats, _| {
        stats.packets_out += 1;
        stats.bytes_out += 1400;
    });
    let steps = vec![
        kind.open(),
        unfit,
        Step::request(&packet, 0, &sent),
        relays(quench),
        relays(Icmpv4Type::TimeExceeded(transit)),
    ];
    Case::new(
        "a packet that routers may fragment goes on into a tunnel whose path is narrow",
        &world,
        steps,
    )
}

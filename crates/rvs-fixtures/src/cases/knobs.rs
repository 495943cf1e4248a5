//! What the director's and a service's settings change.

use rvs_abi::{Counter, Method, Service, Settings};

use super::{
    forwarding::{answer, first, forwarded, next, one, request, translated},
    mtu::{Error, error},
};
use crate::{Case, Edit, Recipe, Step, World, place::Family};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        cases.extend(removed(family));
        cases.extend(reuse(family));
        cases.extend(begins(family));
        cases.push(secured(family));
        cases.push(told(family));
        cases.extend(defended(family));
    }
    cases
}

fn name(family: Family, text: &str) -> String {
    format!("{}: {text}", family.name())
}

fn from(family: Family, flags: &'static str) -> Step {
    let packet = answer(family, 6, flags);
    Step::reply(&packet, 0, &translated(&packet, family))
}

/// `expire_nodest_conn` off, and UDP flows that move all the same.
fn removed(family: Family) -> Vec<Case> {
    let tcp = |flags| next(family, 6).flags(flags);
    let to = |flags| request(&tcp(flags), Method::Nat);
    let patient = |protocol, method| {
        one(family, protocol, method)
            .without(Settings::EXPIRE_NODEST)
            .server(1, method)
    };
    let udp = first(family, 17);
    let held = |packet: &Recipe| Step::drops(packet, Counter::DropServerGone);
    vec![
        Case::new(
            name(
                family,
                "without expire_nodest_conn a connection waits for its server",
            ),
            &patient(6, Method::Nat),
            vec![
                to("S").opens(0, 1, 0),
                from(family, "SA"),
                to("A"),
                Step::Edit(Edit::Remove(0)),
                held(&tcp("PA")),
                from(family, "PA"),
                held(&tcp("S")),
                Step::Edit(Edit::Return(0)),
                to("PA"),
                from(family, "A"),
            ],
        ),
        Case::new(
            name(
                family,
                "without expire_nodest_conn a closed connection's ports begin another elsewhere",
            ),
            &patient(6, Method::Direct),
            vec![
                request(&tcp("S"), Method::Direct).opens(0, 1, 0),
                request(&tcp("A"), Method::Direct),
                request(&tcp("R"), Method::Direct).census(0, 0, 1),
                Step::Edit(Edit::Remove(0)),
                Step::request(&tcp("S"), 1, &forwarded(&tcp("S"), Method::Direct, 1))
                    .opens(1, 1, 0)
                    .census(0, 0, 0)
                    .counts(&[Counter::Reused]),
            ],
        ),
        Case::new(
            name(family, "without expire_nodest_conn a UDP flow waits too"),
            &patient(17, Method::Direct),
            vec![
                request(&udp, Method::Direct).opens(0, 0, 1),
                Step::Edit(Edit::Remove(0)),
                held(&udp),
                held(&udp.clone().may_fragment().fragment(0, true)),
            ],
        ),
        Case::new(
            name(
                family,
                "where its service says so, a UDP flow moves at once",
            ),
            &patient(17, Method::Direct).with_service(|service| service.flags |= Service::MOVE_UDP),
            vec![
                request(&udp, Method::Direct).opens(0, 0, 1),
                Step::Edit(Edit::Remove(0)),
                Step::request(&udp, 1, &forwarded(&udp, Method::Direct, 1))
                    .opens(1, 0, 1)
                    .census(0, 0, 0)
                    .counts(&[Counter::ServerGone]),
            ],
        ),
    ]
}

/// `conn_reuse_mode`.
fn reuse(family: Family) -> Vec<Case> {
    let tcp = |flags| next(family, 6).flags(flags);
    let direct = |flags| request(&tcp(flags), Method::Direct);
    let two = || one(family, 6, Method::Direct).server(1, Method::Direct);
    let other = || Step::request(&tcp("S"), 1, &forwarded(&tcp("S"), Method::Direct, 1));
    let both = Settings::REUSE | Settings::REUSE_FIN_WAIT;
    vec![
        Case::new(
            name(
                family,
                "conn_reuse_mode 0: a SYN goes on in the closed connection",
            ),
            &two().without(both),
            vec![
                direct("S").opens(0, 1, 0),
                direct("A"),
                direct("R").census(0, 0, 1),
                direct("S").census(0, 1, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "conn_reuse_mode 1: a SYN goes on in a connection whose end was half seen",
            ),
            &two().without(Settings::REUSE_FIN_WAIT),
            vec![
                direct("S").opens(0, 1, 0),
                direct("A"),
                direct("FA").census(0, 0, 1),
                direct("S").census(0, 1, 0),
            ],
        ),
        Case::new(
            name(
                family,
                "a SYN that also resets goes to the closed connection",
            ),
            &two(),
            vec![
                direct("S").opens(0, 1, 0),
                direct("A"),
                direct("R").census(0, 0, 1),
                direct("SR"),
            ],
        ),
        Case::new(
            name(
                family,
                "in IPVS a SYN that also resets ends the closed connection, and begins none",
            ),
            &two().with_service(|service| service.flags |= Service::EXACT),
            vec![
                direct("S").opens(0, 1, 0),
                direct("A"),
                direct("R").census(0, 0, 1),
                Step::passes(&tcp("SR"), Counter::PassNoConnection)
                    .census(0, 0, 0)
                    .counts(&[Counter::Reused]),
            ],
        ),
        Case::new(
            name(
                family,
                "a SYN leaves a quiesced server, whatever the old connection's state",
            ),
            &two(),
            vec![
                direct("S").opens(0, 1, 0),
                direct("A"),
                Step::Edit(Edit::Weight(0, 0)),
                direct("A"),
                other()
                    .opens(1, 1, 0)
                    .census(0, 0, 0)
                    .counts(&[Counter::Reused]),
            ],
        ),
        Case::new(
            name(
                family,
                "conn_reuse_mode 0: a SYN leaves a quiesced server all the same",
            ),
            &two().without(both),
            vec![
                direct("S").opens(0, 1, 0),
                Step::Edit(Edit::Weight(0, 0)),
                other()
                    .opens(1, 1, 0)
                    .census(0, 0, 0)
                    .counts(&[Counter::Reused]),
            ],
        ),
        Case::new(
            name(
                family,
                "without expire_nodest_conn a SYN repeated stays at a quiesced server",
            ),
            &two().without(Settings::EXPIRE_NODEST),
            vec![
                direct("S").opens(0, 1, 0),
                Step::Edit(Edit::Weight(0, 0)),
                direct("S"),
            ],
        ),
    ]
}

/// Which segments begin a connection.
fn begins(family: Family) -> Vec<Case> {
    let tcp = |flags| next(family, 6).flags(flags);
    let direct = |flags| request(&tcp(flags), Method::Direct);
    let strays = |flags| Step::passes(&tcp(flags), Counter::PassNoConnection);
    vec![
        Case::new(
            name(
                family,
                "sloppy_tcp: any segment but a reset begins a connection",
            ),
            &one(family, 6, Method::Direct).with(Settings::SLOPPY_TCP),
            vec![strays("R"), direct("PA").opens(0, 1, 0), direct("A")],
        ),
        Case::new(
            name(
                family,
                "SYN and ACK together begin a connection only where IPVS is followed exactly",
            ),
            &one(family, 6, Method::Direct),
            vec![strays("SA"), strays("A")],
        ),
        Case::new(
            name(
                family,
                "as in IPVS, SYN and ACK together begin a connection",
            ),
            &one(family, 6, Method::Direct).with_service(|service| service.flags |= Service::EXACT),
            vec![strays("A"), direct("SA").opens(0, 1, 0)],
        ),
    ]
}

/// In SYNACK, to which only secure_tcp leads, the client's reset closes; in SYN_RECV it is ignored.
fn secured(family: Family) -> Case {
    let to = |flags| request(&next(family, 6).flags(flags), Method::Nat);
    Case::new(
        name(
            family,
            "secure_tcp: the server's word counts, and a reset behind it",
        ),
        &one(family, 6, Method::Nat).with(Settings::SECURE_TCP),
        vec![
            to("S").opens(0, 1, 0),
            to("R"),
            from(family, "SA"),
            to("A"),
            to("R").census(0, 0, 1),
        ],
    )
}

/// `nat_icmp_send`.
fn told(family: Family) -> Case {
    let stray = answer(family, 6, "PA");
    let elsewhere = stray.clone().source((family.server(0), 8081));
    let told = error(
        family.own(),
        family.server(0),
        &stray,
        6,
        &Error::Unreachable,
    );
    Case::new(
        name(
            family,
            "nat_icmp_send: a NAT server hears that its connection is gone",
        ),
        &one(family, 6, Method::Nat).with(Settings::NAT_ICMP_SEND),
        vec![
            Step::answers(
                &stray,
                &told,
                &[Counter::AnswerUnreachable, Counter::DropNoConnection],
            ),
            Step::passes(&answer(family, 6, "R"), Counter::PassNoService),
            Step::passes(&elsewhere, Counter::PassNoService),
        ],
    )
}

/// `drop_packet`.
fn defended(family: Family) -> Vec<Case> {
    let at = |port| next(family, 6).flags("S").port(port);
    let to = |port| request(&at(port), Method::Direct);
    let refused = |port| Step::drops(&at(port), Counter::DropDefence);
    let mut third = one(family, 6, Method::Direct);
    third.drop_rate = 3;
    let mut all = one(family, 6, Method::Direct);
    all.drop_rate = 1;
    vec![
        Case::new(
            name(
                family,
                "drop_packet: one new connection in three is dropped, and no other packet",
            ),
            &third,
            vec![
                to(40000).opens(0, 1, 0),
                to(40000),
                to(40001).opens(0, 2, 0),
                refused(40002),
                to(40002).opens(0, 3, 0),
                request(&next(family, 6), Method::Direct),
                to(40003).opens(0, 4, 0),
                refused(40004),
            ],
        ),
        Case::new(
            name(family, "drop_packet at rate 1: no new connection"),
            &all,
            vec![refused(40000), refused(40000)],
        ),
        Case::new(
            name(family, "an automatic drop_packet, while the daemon says so"),
            &World {
                drop_left: Some(1 << 20),
                ..all.clone()
            },
            vec![refused(40000)],
        ),
        Case::new(
            name(
                family,
                "an automatic drop_packet ends without the daemon's word",
            ),
            &World {
                drop_left: Some(-1),
                ..all
            },
            vec![to(40000).opens(0, 1, 0)],
        ),
    ]
}

//! TCP's states as servers' counts show them, ends of connections, and ports used again.

use rvs_abi::{Counter, Method};

use super::forwarding::{answer, first, forwarded, next, one, request, translated};
use crate::{
    Case, Edit, Recipe, Step,
    place::{CLIENT_MAC, Family},
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        let name = |text: &str| format!("{}: {text}", family.name());
        let tcp = |flags| next(family, 6).flags(flags);
        let to = |flags, method| request(&tcp(flags), method);
        let from = |flags| {
            let packet = answer(family, 6, flags);
            Step::reply(&packet, 0, &translated(&packet, family))
        };
        let opened = |method| to("S", method).opens(0, 1, 0);
        let again = |method| to("S", method).opens(0, 1, 0).counts(&[Counter::Reused]);
        let nat = one(family, 6, Method::Nat);
        let direct = one(family, 6, Method::Direct);

        cases.push(Case::new(
            name("during a takeover what comes for a closed connection may be another's"),
            &nat,
            vec![
                opened(Method::Nat),
                from("SA"),
                to("A", Method::Nat),
                to("FA", Method::Nat).census(0, 0, 1),
                from("FA"),
                to("A", Method::Nat),
                Step::Edit(Edit::Takeover(1 << 20)),
                Step::drops(&tcp("A"), Counter::DropTakeover),
                again(Method::Nat),
                from("SA"),
                to("A", Method::Nat),
            ],
        ));
        cases.push(Case::new(
            name("a NAT connection that the client closes is inactive from its FIN on"),
            &nat,
            vec![
                opened(Method::Nat),
                from("SA"),
                to("A", Method::Nat),
                to("FA", Method::Nat).census(0, 0, 1),
                from("A"),
                from("FA"),
                to("A", Method::Nat),
                again(Method::Nat),
                from("SA"),
            ],
        ));
        cases.push(Case::new(
            name("a NAT connection that the server closes is inactive from its FIN on"),
            &nat,
            vec![
                opened(Method::Nat),
                from("SA"),
                to("A", Method::Nat),
                from("FA").census(0, 0, 1),
                to("A", Method::Nat),
                to("FA", Method::Nat),
                from("A"),
                again(Method::Nat),
            ],
        ));
        cases.push(Case::new(
            name("the client's RST closes a NAT connection, and a SYN makes a new one"),
            &nat,
            vec![
                opened(Method::Nat),
                from("SA"),
                to("A", Method::Nat),
                to("R", Method::Nat).census(0, 0, 1),
                again(Method::Nat),
            ],
        ));
        cases.push(Case::new(
            name("the server's RST closes a NAT connection, and a SYN makes a new one"),
            &nat,
            vec![
                opened(Method::Nat),
                from("RA").census(0, 0, 1),
                again(Method::Nat),
                from("SA"),
                to("A", Method::Nat),
            ],
        ));
        cases.push(Case::new(
            name("a SYN repeated is the same connection"),
            &nat,
            vec![
                opened(Method::Nat),
                to("S", Method::Nat),
                to("S", Method::Nat),
            ],
        ));
        cases.push(Case::new(
            name("a direct-routing connection's states follow the client alone"),
            &direct,
            vec![
                opened(Method::Direct),
                to("A", Method::Direct),
                to("PA", Method::Direct),
                to("FA", Method::Direct).census(0, 0, 1),
                to("A", Method::Direct),
                // The server's FIN goes another way: a SYN tells that the connection is over.
                again(Method::Direct),
                to("R", Method::Direct),
                to("A", Method::Direct),
                to("R", Method::Direct).census(0, 0, 1),
                again(Method::Direct),
            ],
        ));
        cases.push(Case::new(
            name("a segment without any flag closes the connection, as in IPVS"),
            &direct,
            vec![
                opened(Method::Direct),
                to("", Method::Direct).census(0, 0, 1),
            ],
        ));
        cases.push(Case::new(
            name("a closed connection's ports lead to the server whose turn it is"),
            &direct.clone().server(1, Method::Direct),
            vec![
                opened(Method::Direct),
                to("R", Method::Direct),
                to("A", Method::Direct),
                to("R", Method::Direct).census(0, 0, 1),
                Step::request(&tcp("S"), 1, &forwarded(&tcp("S"), Method::Direct, 1))
                    .opens(1, 1, 0)
                    .census(0, 0, 0)
                    .counts(&[Counter::Reused]),
            ],
        ));
        cases.push(returning(family, Method::Direct));
        cases.push(returning(family, Method::Tunnel));
        cases.push(Case::new(
            name("a removed server's TCP connection ends with its next packet"),
            &nat,
            vec![
                opened(Method::Nat),
                Step::Edit(Edit::Remove(0)),
                Step::passes(&tcp("A"), Counter::PassNoConnection)
                    .counts(&[Counter::ServerGone])
                    .census(0, 0, 0),
                Step::passes(&tcp("A"), Counter::PassNoConnection),
            ],
        ));
        cases.push(Case::new(
            name("a removed server's reply ends the connection too"),
            &nat,
            vec![
                opened(Method::Nat),
                Step::Edit(Edit::Remove(0)),
                Step::passes(&answer(family, 6, "SA"), Counter::PassNoService)
                    .counts(&[Counter::ServerGone])
                    .census(0, 0, 0),
            ],
        ));
        let udp = first(family, 17);
        cases.push(Case::new(
            name("a removed server's UDP connection goes on at another server"),
            &one(family, 17, Method::Direct).server(1, Method::Direct),
            vec![
                request(&udp, Method::Direct).opens(0, 0, 1),
                Step::Edit(Edit::Remove(0)),
                Step::request(&udp, 1, &forwarded(&udp, Method::Direct, 1))
                    .opens(1, 0, 1)
                    .census(0, 0, 0)
                    .counts(&[Counter::ServerGone]),
            ],
        ));
    }
    cases
}

/// A server that answers from the virtual address, through the director.
fn returning(family: Family, method: Method) -> Case {
    let reply = |flags| {
        let packet = Recipe::tcp((family.vip(0), 80), (family.client(), 40000), flags);
        let packet = packet.from_server(0).payload(b"direct");
        let sent = packet.clone().aged().to_client(CLIENT_MAC);
        Step::reply(&packet, 0, &sent).counts(&[Counter::DirectReply])
    };
    let steps = vec![
        request(&next(family, 6).flags("S"), method).opens(0, 1, 0),
        reply("SA"),
        request(&next(family, 6), method),
        reply("PA"),
        reply("FA").census(0, 0, 1),
    ];
    Case::new(
        format!(
            "{}, {method:?}: a reply through the director is forwarded",
            family.name()
        ),
        &one(family, 6, method),
        steps,
    )
}

//! FTP control connections behind NAT: what names an address needs the daemon, all else goes on.

use rvs_abi::{Counter, Method, Settings};

use crate::{
    Case, Edit, Recipe, Step, World,
    place::{CLIENT_MAC, Family},
};

/// "SACK permitted" at an even and at an odd place, and without.
const OPTIONS: [(&[u8], &[u8]); 3] = [
    (&[2, 4, 5, 0xb4, 4, 2, 1, 1], &[2, 4, 5, 0xb4, 1, 1, 1, 1]),
    (&[1, 4, 2, 3, 3, 7, 0, 0], &[1, 1, 1, 3, 3, 7, 0, 0]),
    (&[2, 4, 5, 0xb4], &[2, 4, 5, 0xb4]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for (number, (options, left)) in OPTIONS.into_iter().enumerate() {
            cases.push(sack(family, number, options, left));
        }
        cases.push(words(family));
        cases.push(not_by_nat(family));
        cases.push(takeover(family));
    }
    cases
}

fn world(family: Family, method: Method) -> World {
    World::new()
        .service(family.vip(0), 21, 6)
        .server(0, method)
        .but(|server| server.port = 21)
}

fn from_client(family: Family, flags: &'static str) -> Recipe {
    Recipe::tcp((family.client(), 40000), (family.vip(0), 21), flags)
}

fn request(packet: &Recipe) -> Step {
    let family = packet.family();
    let out = packet.clone().aged().to_server(0);
    Step::request(packet, 0, &out.destination((family.server(0), 21)))
}

fn from_server(family: Family, flags: &'static str) -> Recipe {
    Recipe::tcp((family.server(0), 21), (family.client(), 40000), flags).from_server(0)
}

fn out(packet: &Recipe) -> Recipe {
    let family = packet.family();
    let out = packet.clone().aged().to_client(CLIENT_MAC);
    out.source((family.vip(0), 21))
}

fn reply(packet: &Recipe) -> Step {
    Step::reply(packet, 0, &out(packet))
}

fn sack(family: Family, number: usize, options: &[u8], left: &[u8]) -> Case {
    let answer = from_server(family, "SA").tcp_options(options);
    let sent = out(&answer).tcp_options(left);
    Case::new(
        format!(
            "{}: an FTP server's SYN does not permit selective acknowledgements, {number}",
            family.name()
        ),
        &world(family, Method::Nat),
        vec![
            request(&from_client(family, "S").tcp_options(options)).opens(0, 1, 0),
            Step::reply(&answer, 0, &sent),
        ],
    )
}

fn words(family: Family) -> Case {
    let says = |said: &str| from_client(family, "PA").payload(said.as_bytes());
    let answers = |said: &str| from_server(family, "PA").payload(said.as_bytes());
    let away = |packet: &Recipe| Step::drops(packet, Counter::DropFtp);
    Case::new(
        format!(
            "{}: without the daemon FTP's words that name an address are dropped",
            family.name()
        ),
        &world(family, Method::Nat),
        vec![
            request(&from_client(family, "S")).opens(0, 1, 0),
            reply(&from_server(family, "SA")),
            request(&from_client(family, "A")),
            reply(&answers("220 ready\r\n")),
            request(&says("USER anonymous\r\n")),
            away(&says("PORT 192,0,2,10,4,1\r\n")),
            away(&says("eprt |1|192.0.2.10|1025|\r\n")),
            away(&answers("227 Entering Passive Mode (10,0,0,1,4,1)\r\n")),
            away(&answers(
                "229 Entering Extended Passive Mode (|||1025|)\r\n",
            )),
            // The other side's words mean nothing, nor do they later in the text.
            request(&says("227 (10,0,0,1,4,1)\r\n")),
            reply(&answers("PORT 192,0,2,10,4,1\r\n")),
            request(&says("NOOP PORT 1,2,3,4,5,6\r\n")),
            request(&says("POR")),
            request(&from_client(family, "A")),
        ],
    )
}

fn not_by_nat(family: Family) -> Case {
    let direct = |packet: &Recipe| Step::request(packet, 0, &packet.clone().aged().to_server(0));
    let says = from_client(family, "PA").payload(b"PORT 192,0,2,10,4,1\r\n");
    Case::new(
        format!(
            "{}: FTP by direct routing needs nobody's help",
            family.name()
        ),
        &world(family, Method::Direct),
        vec![
            direct(&from_client(family, "S")).opens(0, 1, 0),
            direct(&from_client(family, "A")),
            direct(&says),
        ],
    )
}

fn takeover(family: Family) -> Case {
    let data = (family.vip(0), 50000);
    let data = Recipe::tcp((family.client(), 40001), data, "S");
    Case::new(
        format!(
            "{}: a data connection that another table may expect is dropped",
            family.name()
        ),
        &world(family, Method::Nat).with(Settings::HAS_FTP),
        vec![
            Step::Edit(Edit::Takeover(1 << 20)),
            Step::drops(&data, Counter::DropTakeover),
            Step::drops(&data.clone().flags("A"), Counter::DropTakeover),
            request(&from_client(family, "S")).opens(0, 1, 0),
        ],
    )
}

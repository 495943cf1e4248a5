//! What can be wrong with a command line as a whole, in the order in which ipvsadm looks at it.

use rvs_config::{Family, Method, Netmask};

use super::{Request, ServiceId, ServiceProtocol, TunnelType, values};
use crate::ipvsadm::command::Failure;
use crate::ipvsadm::names::Names;
use crate::ipvsadm::options::{Action, Item, Rule, rule};

/// The words that are no options: `--set` has three, the others none.
pub(super) fn rest(request: &mut Request, words: &[&str]) -> Result<(), Failure> {
    let mut words = words.iter();
    if request.action == Action::Set {
        let too_few = || Failure::usage("--set option requires 3 timeout values");
        let [tcp, tcp_fin, udp] = words.as_slice().first_chunk().ok_or_else(too_few)?;
        request.timeouts = [seconds(tcp, 0)?, seconds(tcp_fin, 0)?, seconds(udp, 0)?];
        words.nth(2);
    }
    match words.next() {
        Some(word) => Err(Failure::usage(format!("unexpected argument {word}"))),
        None => Ok(()),
    }
}

/// Everything else.
pub(super) fn request(request: &Request) -> Result<(), Failure> {
    scheduler_flags(request)?;
    matrix(request)?;
    match request.action {
        Action::AddService | Action::EditService => service(request),
        Action::AddServer | Action::EditServer => server(request),
        Action::List => list(request),
        Action::DeleteService
        | Action::Flush
        | Action::DeleteServer
        | Action::Set
        | Action::StartDaemon
        | Action::StopDaemon
        | Action::Restore
        | Action::Save
        | Action::Zero => Ok(()),
    }
}

/// A timeout of at least so many seconds.
pub(super) fn seconds(text: &str, least: i64) -> Result<u64, Failure> {
    values::timeout(text, least)
        .ok_or_else(|| Failure::usage(format!("invalid timeout value `{text}' specified")))
}

/// The mask of persistent clients: for IPv4 an address, for IPv6 a prefix length.
pub(super) fn netmask(
    text: &str,
    service: Option<ServiceId>,
    names: &Names,
) -> Result<Netmask, Failure> {
    match service.map(ServiceId::family) {
        Some(Family::V6) => u8::try_from(values::atoi(text))
            .ok()
            .and_then(|bits| Netmask::prefix(bits).ok())
            .ok_or_else(|| Failure::usage("illegal ipv6 netmask specified")),
        Some(Family::V4) | None => match values::inet_aton(text).or_else(|| names.host(text)) {
            Some(mask) => Ok(Netmask::Mask(mask)),
            None => Err(Failure::usage(
                "illegal virtual server persistent mask specified",
            )),
        },
    }
}

/// The sync daemon's group.
pub(super) fn multicast_group(text: &str) -> Result<(), Failure> {
    let (family, is_group) = if text.contains(':') {
        let group = text.parse::<std::net::Ipv6Addr>();
        ("IPv6", group.is_ok_and(|group| group.is_multicast()))
    } else {
        let group = text.parse::<std::net::Ipv4Addr>();
        ("IPv4", group.is_ok_and(|group| group.is_multicast()))
    };
    if is_group {
        Ok(())
    } else {
        Err(Failure::usage(format!(
            "invalid {family} mcast-group `{text}'"
        )))
    }
}

fn scheduler_flags(request: &Request) -> Result<(), Failure> {
    for flag in request.flags.split(',').filter(|flag| !flag.is_empty()) {
        let scheduler = match flag {
            "flag-1" | "flag-2" | "flag-3" => continue,
            "sh-fallback" | "sh-port" => "sh",
            "mh-fallback" | "mh-port" => "mh",
            _ => return Err(Failure::usage(format!("invalid scheduler flag `{flag}'"))),
        };
        if request.scheduler != scheduler {
            return Err(Failure::usage(format!(
                "incompatible scheduler flag `{flag}'"
            )));
        }
    }
    Ok(())
}

fn matrix(request: &Request) -> Result<(), Failure> {
    let command = format!("'{}' command", request.action.name());
    let rules = Item::ALL.map(|item| (item, rule(request.action, item)));
    one_by_one(request, rules, &command)
}

/// Looks at items in turn; `place` is what the messages call that which has the rules.
fn one_by_one(
    request: &Request,
    rules: impl IntoIterator<Item = (Item, Rule)>,
    place: &str,
) -> Result<(), Failure> {
    let mut exclusive: Option<Item> = None;
    for (item, rule) in rules {
        let name = item.name();
        let message = match (rule, request.has(item)) {
            (Rule::Required, false) => {
                format!("You need to supply the '{name}' option for the {place}")
            }
            (Rule::Illegal, true) => format!("Illegal '{name}' option with the {place}"),
            (Rule::Exclusive, true) => match exclusive.replace(item) {
                Some(other) => {
                    format!(
                        "The option '{name}' conflicts with the '{}' option in the {place}",
                        other.name()
                    )
                }
                None => continue,
            },
            (Rule::Required | Rule::Optional, true)
            | (Rule::Illegal | Rule::Optional | Rule::Exclusive, false) => continue,
        };
        return Err(Failure::usage(message));
    }
    Ok(())
}

fn service(request: &Request) -> Result<(), Failure> {
    let Some(ServiceId::Address { protocol, port, .. }) = request.service else {
        return Ok(());
    };
    if port == 0 && !request.has(Item::Persistent) {
        return Err(Failure::usage(
            "Zero port specified for non-persistent service",
        ));
    }
    match protocol {
        ServiceProtocol::Tcp | ServiceProtocol::Sctp if request.has(Item::Ops) => Err(
            Failure::usage("One-Packet Scheduling is only for UDP virtual services"),
        ),
        ServiceProtocol::Tcp | ServiceProtocol::Sctp | ServiceProtocol::Udp => Ok(()),
    }
}

fn server(request: &Request) -> Result<(), Failure> {
    if request.method != Method::Tunnel {
        if mixed_families(request) {
            return Err(Failure::usage(
                "Different address family is allowed only for tunneling servers",
            ));
        }
        let options = [
            Item::TunType,
            Item::TunPort,
            Item::TunNoCsum,
            Item::TunCsum,
            Item::TunRemCsum,
        ];
        if options.into_iter().any(|item| request.has(item)) {
            return Err(Failure::usage(
                "Tunnel options conflict with forward method",
            ));
        }
        return Ok(());
    }
    let (name, port, csum, remcsum) = match request.tunnel {
        TunnelType::Ipip => ("ipip", Rule::Illegal, Rule::Illegal, Rule::Illegal),
        TunnelType::Gue => ("gue", Rule::Required, Rule::Exclusive, Rule::Exclusive),
        TunnelType::Gre => ("gre", Rule::Illegal, Rule::Exclusive, Rule::Illegal),
    };
    let rules = [
        (Item::TunPort, port),
        (Item::TunNoCsum, csum),
        (Item::TunCsum, csum),
        (Item::TunRemCsum, remcsum),
    ];
    one_by_one(request, rules, &format!("'{name}' tunnel type"))
}

/// Whether service and server are of different address families.
pub(super) fn mixed_families(request: &Request) -> bool {
    match (request.service, request.server) {
        (Some(service), Some((address, _))) => {
            (service.family() == Family::V6) != address.is_ipv6()
        }
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}

fn list(request: &Request) -> Result<(), Failure> {
    let any = |items: &[Item]| items.iter().any(|&item| request.has(item));
    let other_list = any(&[Item::Connection, Item::Timeout, Item::Daemon]);
    let no_connection_columns = any(&[Item::Stats, Item::Rate, Item::Thresholds]);
    let no_timeout_columns =
        any(&[Item::Timeout, Item::Daemon]) && request.has(Item::PersistentConn);
    if other_list && no_connection_columns || no_timeout_columns {
        return Err(Failure::usage("options conflicts in the list command"));
    }
    Ok(())
}

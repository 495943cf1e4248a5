//! From the words of a command line to a command, with ipvsadm 1.31's checks in its order and in its words.

mod check;
mod understand;

use std::net::IpAddr;

use rvs_config::{Family, Method, Netmask};
use std::num::{NonZeroU16, NonZeroU32};

use super::command::{Command, Failure};
use super::names::Names;
use super::options::{Action, Item, WORDS, Word};
use super::popt::Scanner;
use super::print::{Columns, Format, NameStyle, NumberStyle, Order};
use super::values;

/// How many seconds `-p` means without a number. (Its manual says 300.)
const PERSISTENCE: u64 = 360;

/// Reads the words after the program's name.
pub(super) fn parse(words: &[String], names: &Names) -> Result<Command, Failure> {
    if words.is_empty() {
        return understand::list_all();
    }
    let mut scanner = Scanner::new(&WORDS, words);
    let first = scanner.next().map_err(|_| Failure::try_help())?;
    let (action, argument) = match first {
        Some((Word::Action(action), argument)) => (action, argument),
        Some((Word::Help, _)) => return Ok(Command::Help),
        Some((Word::Version, _)) => return Ok(Command::Version),
        Some((
            Word::TcpService
            | Word::UdpService
            | Word::SctpService
            | Word::FwmarkService
            | Word::Ipv6
            | Word::Gatewaying
            | Word::Ipip
            | Word::Masquerading
            | Word::Sort
            | Word::Item(_),
            _,
        ))
        | None => return Err(Failure::try_help()),
    };
    let role = argument.unwrap_or_default();
    match action {
        Action::StartDaemon if !["master", "backup"].contains(&role) => {
            return Err(Failure::usage("illegal start-daemon parameter specified"));
        }
        Action::StopDaemon if !["master", "backup"].contains(&role) => {
            return Err(Failure::usage("illegal start_daemon specified"));
        }
        Action::AddService
        | Action::EditService
        | Action::DeleteService
        | Action::Flush
        | Action::List
        | Action::AddServer
        | Action::EditServer
        | Action::DeleteServer
        | Action::Set
        | Action::StartDaemon
        | Action::StopDaemon
        | Action::Restore
        | Action::Save
        | Action::Zero => {}
    }
    let mut request = Request::new(action);
    loop {
        match scanner.next() {
            Ok(Some((word, argument))) => request.take(word, argument, scanner.word(), names)?,
            Ok(None) => break,
            Err(error) => return Err(Failure::refused(error.to_string())),
        }
    }
    let rest = scanner.into_rest();
    check::rest(&mut request, &rest)?;
    check::request(&request)?;
    understand::command(&request)
}

/// The protocol of a service by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServiceProtocol {
    Tcp,
    Udp,
    Sctp,
}

impl ServiceProtocol {
    const fn name(self) -> &'static str {
        match self {
            ServiceProtocol::Tcp => "tcp",
            ServiceProtocol::Udp => "udp",
            ServiceProtocol::Sctp => "sctp",
        }
    }
}

/// What a service is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServiceId {
    Address {
        protocol: ServiceProtocol,
        address: IpAddr,
        port: u16,
    },
    Mark {
        number: NonZeroU32,
        family: Family,
    },
}

impl ServiceId {
    fn family(self) -> Family {
        match self {
            ServiceId::Address {
                address: IpAddr::V4(_),
                ..
            } => Family::V4,
            ServiceId::Address {
                address: IpAddr::V6(_),
                ..
            } => Family::V6,
            ServiceId::Mark { family, .. } => family,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TunnelType {
    #[default]
    Ipip,
    Gue,
    Gre,
}

/// Everything that a command line says, before it is judged as a whole.
#[derive(Clone, Debug)]
struct Request {
    action: Action,
    given: Vec<Item>,
    service: Option<ServiceId>,
    scheduler: String,
    flags: String,
    /// Of `-p`, in seconds.
    persistence: Option<u64>,
    netmask: Option<Netmask>,
    engine: String,
    server: Option<(IpAddr, u16)>,
    method: Method,
    tunnel: TunnelType,
    tunnel_port: Option<NonZeroU16>,
    weight: u64,
    upper_threshold: u64,
    lower_threshold: u64,
    format: Format,
    /// Of `--set`, in seconds.
    timeouts: [u64; 3],
}

impl Request {
    fn new(action: Action) -> Request {
        Request {
            action,
            given: Vec::new(),
            service: None,
            scheduler: String::new(),
            flags: String::new(),
            persistence: None,
            netmask: None,
            engine: String::new(),
            server: None,
            method: Method::Direct,
            tunnel: TunnelType::Ipip,
            tunnel_port: None,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            format: Format::default(),
            timeouts: [0; 3],
        }
    }

    fn has(&self, item: Item) -> bool {
        self.given.contains(&item)
    }

    /// Notes that an item is there, which it may be once.
    fn once(&mut self, item: Item) -> Result<(), Failure> {
        if self.has(item) {
            return Err(Failure::usage(format!(
                "multiple '{}' options specified",
                item.name()
            )));
        }
        self.given.push(item);
        Ok(())
    }

    /// Takes an option; `spelling` is the last word that it takes up.
    fn take(
        &mut self,
        word: Word,
        optional: Option<&str>,
        spelling: &str,
        names: &Names,
    ) -> Result<(), Failure> {
        let argument = optional.unwrap_or_default();
        match word {
            Word::Action(_) | Word::Help | Word::Version => {
                Err(Failure::usage(format!("invalid option `{spelling}'")))
            }
            Word::TcpService => self.service(ServiceProtocol::Tcp, argument, names),
            Word::UdpService => self.service(ServiceProtocol::Udp, argument, names),
            Word::SctpService => self.service(ServiceProtocol::Sctp, argument, names),
            Word::FwmarkService => {
                self.once(Item::ServiceAddress)?;
                let error =
                    || Failure::usage(format!("invalid fwmark value `{argument}' specified"));
                let number = values::fwmark(argument).ok_or_else(error)?;
                self.service = Some(ServiceId::Mark {
                    number,
                    family: Family::V4,
                });
                Ok(())
            }
            Word::Ipv6 => match &mut self.service {
                Some(ServiceId::Mark { family, .. }) => {
                    *family = Family::V6;
                    self.netmask = None;
                    Ok(())
                }
                Some(ServiceId::Address { .. }) | None => {
                    Err(Failure::usage("-6 used before -f\n"))
                }
            },
            Word::Gatewaying => self.forward(Method::Direct),
            Word::Ipip => self.forward(Method::Tunnel),
            Word::Masquerading => self.forward(Method::Nat),
            Word::Sort => Ok(()),
            Word::Item(item) => {
                self.once(item)?;
                if item == Item::Persistent {
                    self.persistence = Some(match optional {
                        Some(argument) => check::seconds(argument, 1)?,
                        None => PERSISTENCE,
                    });
                }
                self.item(item, argument, names)
            }
        }
    }

    fn service(
        &mut self,
        protocol: ServiceProtocol,
        text: &str,
        names: &Names,
    ) -> Result<(), Failure> {
        self.once(Item::ServiceAddress)?;
        let found = values::host_port(text, Some(protocol.name()), names)
            .ok_or_else(|| Failure::usage("illegal virtual server address[:port] specified"))?;
        let (address, port) = (found.address, found.port.unwrap_or(0));
        if address.is_ipv6() {
            // A mask that stood before is forgotten.
            self.netmask = None;
        }
        self.service = Some(ServiceId::Address {
            protocol,
            address,
            port,
        });
        Ok(())
    }

    fn forward(&mut self, method: Method) -> Result<(), Failure> {
        self.once(Item::Forwarding)?;
        self.method = method;
        Ok(())
    }

    /// Takes an item's argument, if it is right.
    fn item(&mut self, item: Item, argument: &str, names: &Names) -> Result<(), Failure> {
        let illegal = |what: &str| Failure::usage(format!("illegal {what} specified"));
        let in_range = |range, what: &str| {
            values::number(argument, range)
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| illegal(what))
        };
        match item {
            Item::Scheduler => argument.clone_into(&mut self.scheduler),
            Item::SchedFlags => argument.clone_into(&mut self.flags),
            Item::RealServer => {
                // A port that is left out is the service's, if the service was named before.
                let (protocol, default_port) = match self.service {
                    Some(ServiceId::Address { protocol, port, .. }) => {
                        (Some(protocol.name()), port)
                    }
                    Some(ServiceId::Mark { .. }) => (Some("tcp"), 0),
                    None => (None, 0),
                };
                let found = values::host_port(argument, protocol, names)
                    .ok_or_else(|| illegal("real server address[:port]"))?;
                self.server = Some((found.address, found.port.unwrap_or(default_port)));
            }
            Item::Weight => self.weight = in_range(0..=i64::from(i32::MAX), "weight")?,
            Item::UpperThreshold => {
                self.upper_threshold = in_range(0..=i64::from(i32::MAX), "u_threshold")?;
            }
            Item::LowerThreshold => {
                self.lower_threshold = in_range(0..=i64::from(i32::MAX), "l_threshold")?;
            }
            Item::Numeric => self.format.names = NameStyle::Numeric,
            Item::NoSort => self.format.order = Order::Tables,
            Item::Exact => self.format.numbers = NumberStyle::Exact,
            Item::Stats => self.columns(Columns::Stats),
            Item::Rate => self.columns(Columns::Rate),
            Item::Thresholds => self.columns(Columns::Thresholds),
            Item::PersistentConn => self.columns(Columns::PersistentConn),
            Item::TunInfo => self.columns(Columns::TunInfo),
            Item::TunType => {
                self.tunnel = match argument {
                    "ipip" => TunnelType::Ipip,
                    "gue" => TunnelType::Gue,
                    "gre" => TunnelType::Gre,
                    _ => return Err(illegal("tunnel type")),
                };
            }
            Item::TunPort => {
                let port = in_range(1..=65535, "tunnel port")?;
                self.tunnel_port = u16::try_from(port).ok().and_then(NonZeroU16::new);
            }
            Item::SyncId => drop(in_range(0..=255, "syncid")?),
            Item::SyncMaxlen => drop(in_range(1..=65507, "sync-maxlen")?),
            Item::McastPort => drop(in_range(1..=65535, "mcast-port")?),
            Item::McastTtl => drop(in_range(1..=255, "mcast-ttl")?),
            Item::McastGroup => check::multicast_group(argument)?,
            Item::Netmask => self.netmask = Some(check::netmask(argument, self.service, names)?),
            Item::Pe => argument.clone_into(&mut self.engine),
            // The first may have an argument, which the caller checks; the others have none or any.
            Item::Persistent
            | Item::McastInterface
            | Item::Connection
            | Item::ServiceAddress
            | Item::Forwarding
            | Item::Timeout
            | Item::Daemon
            | Item::Ops
            | Item::TunNoCsum
            | Item::TunCsum
            | Item::TunRemCsum => {}
        }
        Ok(())
    }

    /// Of several sets of columns the one that stands first here is listed.
    fn columns(&mut self, columns: Columns) {
        const ORDER: [Columns; 5] = [
            Columns::Stats,
            Columns::Rate,
            Columns::Thresholds,
            Columns::PersistentConn,
            Columns::TunInfo,
        ];
        let place = |wanted| {
            ORDER
                .iter()
                .position(|&known| known == wanted)
                .unwrap_or(ORDER.len())
        };
        if place(columns) < place(self.format.columns) {
            self.format.columns = columns;
        }
    }
}

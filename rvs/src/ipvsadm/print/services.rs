//! `ipvsadm -L`: services and real servers, with one of six sets of columns.

use std::fmt::Write;
use std::net::IpAddr;

use rvs_config::{Family, GreChecksum, GueChecksum, Method, ServiceKey, ServiceOptions, Tunnel};

use super::{Columns, Format, NumberStyle, Order, column, mask, scheduler_flags};
use crate::ipvsadm::names::Names;
use crate::ipvsadm::table::{ServerEntry, ServiceEntry, Stats};

/// The first line of a listing of the whole table.
pub(in crate::ipvsadm) fn header(size: u64) -> String {
    format!("IP Virtual Server version 1.2.1 (size={size})\n")
}

/// The list with its two lines of titles.
pub(in crate::ipvsadm) fn services(
    services: Vec<ServiceEntry>,
    format: Format,
    names: &Names,
) -> String {
    let mut out = titles(format.columns);
    for service in sorted(services, format.order) {
        // The ports of a mark's servers are of no protocol, and so have no names.
        let protocol = service.key.protocol();
        let name = |address| column(address, protocol, format.names, names);
        let title = match service.key {
            ServiceKey::Address(key) => {
                let protocol = key.protocol().name().to_uppercase();
                format!("{protocol:<4} {}", name(key.socket_addr()))
            }
            ServiceKey::Mark(mark) => match mark.family() {
                Family::V4 => format!("FWM  {}", mark.number()),
                Family::V6 => format!("FWM  {} IPv6", mark.number()),
            },
        };
        // Writing to a String does not fail.
        let _ = match format.columns {
            Columns::Stats => writeln!(
                out,
                "{title:<33}{}",
                quantities(&service.stats, format.numbers)
            ),
            Columns::Rate => writeln!(
                out,
                "{title:<33}{}",
                quantities(&service.rates, format.numbers)
            ),
            Columns::Connections
            | Columns::Thresholds
            | Columns::PersistentConn
            | Columns::TunInfo => {
                writeln!(out, "{title} {}", options(&service.options))
            }
        };
        for entry in &service.servers {
            let address: String = name(entry.server.socket_addr());
            let _ = writeln!(out, "  -> {address:<28}{}", server_columns(entry, format));
        }
    }
    out
}

/// The scheduler, and what there is besides.
fn options(options: &ServiceOptions) -> String {
    let mut out = options.scheduler.to_string();
    let flags = scheduler_flags(options);
    if !flags.is_empty() {
        out.push_str(&format!(" ({flags})"));
    }
    if let Some(persistence) = &options.persistence {
        out.push_str(&format!(" persistent {}", persistence.timeout.as_secs()));
        if let Some(netmask) = persistence.netmask {
            out.push_str(&format!(" mask {}", mask(netmask)));
        }
        if let Some(engine) = persistence.engine {
            out.push_str(&format!(" pe {engine}"));
        }
    }
    if options.one_packet {
        out.push_str(" ops");
    }
    out
}

/// Services and servers in the wanted order.
pub(super) fn sorted(mut services: Vec<ServiceEntry>, order: Order) -> Vec<ServiceEntry> {
    match order {
        Order::Tables => {}
        Order::Sorted => {
            services.sort_by_key(|service| service.key);
            for service in &mut services {
                service
                    .servers
                    .sort_by_key(|entry| (bytes(entry.server.address()), entry.server.port()));
            }
        }
    }
    services
}

/// An address as servers are sorted by it: that of a tunnel to the other family by its first bytes too.
fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn titles(columns: Columns) -> String {
    let local = "Prot LocalAddress:Port";
    let remote = "  -> RemoteAddress:Port";
    match columns {
        Columns::Connections => {
            format!("{local} Scheduler Flags\n{remote:<33} Forward Weight ActiveConn InActConn\n")
        }
        Columns::TunInfo => {
            format!(
                "{local} Scheduler Flags\n{remote:<33} Forward TunnelInfo    Weight ActiveConn InActConn\n"
            )
        }
        Columns::Stats => {
            format!("{local:<33}    Conns   InPkts  OutPkts  InBytes OutBytes\n{remote}\n")
        }
        Columns::Rate => {
            format!("{local:<33}      CPS    InPPS   OutPPS    InBPS   OutBPS\n{remote}\n")
        }
        Columns::Thresholds => {
            format!("{local:<33} Uthreshold Lthreshold ActiveConn InActConn \n{remote}\n")
        }
        Columns::PersistentConn => {
            format!("{local:<33} Weight    PersistConn ActiveConn InActConn \n{remote}\n")
        }
    }
}

fn server_columns(entry: &ServerEntry, format: Format) -> String {
    let (active, inactive) = (entry.active, entry.inactive);
    let weight = entry.server.weight();
    match format.columns {
        Columns::Connections => {
            format!(
                " {:<7} {weight:<6} {active:<10} {inactive:<10}",
                forward(entry)
            )
        }
        Columns::TunInfo => {
            let tunnel = tunnel_info(entry);
            format!(
                " {:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}",
                forward(entry)
            )
        }
        Columns::Stats => quantities(&entry.stats, format.numbers),
        Columns::Rate => quantities(&entry.rates, format.numbers),
        Columns::Thresholds => {
            let thresholds = entry.server.thresholds();
            let (upper, lower) = (thresholds.upper(), thresholds.lower());
            format!(" {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
        }
        Columns::PersistentConn => {
            let persistent = entry.persistent;
            format!(" {weight:<9} {persistent:<11} {active:<10} {inactive:<10}")
        }
    }
}

fn forward(entry: &ServerEntry) -> &'static str {
    match entry.server.method() {
        Method::Nat => "Masq",
        Method::Tunnel => "Tunnel",
        Method::Direct => "Route",
    }
}

fn tunnel_info(entry: &ServerEntry) -> String {
    match entry.server.method() {
        Method::Tunnel => match entry.server.tunnel() {
            Tunnel::Ipip => "ipip".to_owned(),
            Tunnel::Gue { port, checksum } => {
                let checksum = match checksum {
                    GueChecksum::None => "-c",
                    GueChecksum::Csum => "+c",
                    GueChecksum::Remcsum => "r+c",
                };
                format!("gue:{port}:{checksum}")
            }
            Tunnel::Gre { checksum } => match checksum {
                GreChecksum::None => "gre:-c".to_owned(),
                GreChecksum::Csum => "gre:+c".to_owned(),
            },
        },
        Method::Nat | Method::Direct => "n/a".to_owned(),
    }
}

fn quantities(stats: &Stats, style: NumberStyle) -> String {
    [
        stats.connections,
        stats.packets_in,
        stats.packets_out,
        stats.bytes_in,
        stats.bytes_out,
    ]
    .map(|number| large(number, style))
    .concat()
}

/// A number in nine columns: short in thousands of thousands, exact in as many columns as it needs.
fn large(number: u64, style: NumberStyle) -> String {
    match (style, number) {
        (NumberStyle::Exact, _) => {
            let digits = number.to_string();
            let width = if digits.len() <= 8 {
                9
            } else {
                digits.len() + 1
            };
            format!("{digits:>width$}")
        }
        (NumberStyle::Short, 0..100_000_000) => format!("{number:9}"),
        (NumberStyle::Short, 100_000_000..1_000_000_000) => format!("{:8}K", number / 1000),
        (NumberStyle::Short, 1_000_000_000..100_000_000_000) => {
            format!("{:8}M", number / 1_000_000)
        }
        (NumberStyle::Short, 100_000_000_000..100_000_000_000_000) => {
            format!("{:8}G", number / 1_000_000_000)
        }
        (NumberStyle::Short, 100_000_000_000_000..) => format!("{:8}T", number / 1_000_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers() {
        for (number, short, exact) in [
            (0, "        0", "        0"),
            (99_999_999, " 99999999", " 99999999"),
            (100_000_000, "  100000K", " 100000000"),
            (999_999_999, "  999999K", " 999999999"),
            (1_000_000_000, "    1000M", " 1000000000"),
            (99_999_999_999, "   99999M", " 99999999999"),
            (100_000_000_000, "     100G", " 100000000000"),
            (99_999_999_999_999, "   99999G", " 99999999999999"),
            (100_000_000_000_000, "     100T", " 100000000000000"),
            (u64::MAX, "18446744T", " 18446744073709551615"),
        ] {
            assert_eq!(large(number, NumberStyle::Short), short);
            assert_eq!(large(number, NumberStyle::Exact), exact);
        }
    }
}

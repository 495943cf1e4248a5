//! Between what a person may change of a service or a server, and the words of its entry.

use rvs_abi::{Encapsulation, Server as ServerEntry, Service as Entry};
use rvs_config::{
    Engine, Family, GreChecksum, GueChecksum, MatchRule, Netmask, OwnTimeouts, Persistence,
    PersistenceTimeout, Scheduler, SchedulerFlags, Server, ServiceOptions, Thresholds, Timer,
    Tunnel,
};
use rvs_core::state::counts;
use std::{net::Ipv4Addr, num::NonZeroU16, time::Duration};

use crate::wire;

/// The flags of a service's entry that its options say.
const OPTION_FLAGS: u32 = Entry::ONE_PACKET
    | Entry::FALLBACK
    | Entry::PORT
    | Entry::FLAG1
    | Entry::FLAG2
    | Entry::FLAG3
    | Entry::MOVE_UDP
    | Entry::OWN_TIMEOUTS;

/// So long, in ticks; at most as long as ticks can tell (24 days where there are 1000 in a second).
pub(crate) fn ticks(time: Duration, per_second: u32) -> u32 {
    u32::try_from(time.as_secs().saturating_mul(per_second.into()))
        .unwrap_or(u32::MAX)
        .min(rvs_core::sweep::LONGEST)
}

/// Writes the options into the entry. Each word is right by itself; a packet in between may see some of the old ones.
pub(crate) fn write(entry: &Entry, options: &ServiceOptions, family: Family, per_second: u32) {
    let persistence = options.persistence;
    let netmask = match persistence.and_then(|persistence| persistence.netmask) {
        Some(Netmask::Mask(mask)) => u32::from_ne_bytes(mask.octets()),
        Some(Netmask::Prefix(length)) => length.bits().into(),
        None => match family {
            Family::V4 => u32::MAX,
            Family::V6 => 128,
        },
    };
    entry.netmask.store(netmask);
    entry.engine.store(
        match persistence.and_then(|persistence| persistence.engine) {
            Some(Engine::Sip) => Entry::SIP,
            None => Entry::NO_ENGINE,
        },
    );
    let seconds = persistence.map_or(0, |persistence| persistence.timeout.as_secs());
    entry.persistence_seconds.store(seconds);
    entry
        .persistence
        .store(ticks(Duration::from_secs(seconds.into()), per_second));
    for timer in Timer::all() {
        let own = options.timeouts.get(timer);
        if let Some(word) = entry.timeouts.get(timer as usize) {
            word.store(own.map_or(0, |timeout| ticks(timeout, per_second)));
        }
    }
    let scheduler_flags = [
        (SchedulerFlags::FIRST, first(options.scheduler)),
        (SchedulerFlags::SECOND, second(options.scheduler)),
        (SchedulerFlags::THIRD, Entry::FLAG3),
    ];
    let mut flags = entry.flags.load() & !OPTION_FLAGS;
    for (_, bit) in scheduler_flags
        .into_iter()
        .filter(|(flag, _)| options.scheduler_flags.has(*flag))
    {
        flags |= bit;
    }
    for (_, bit) in [
        (options.one_packet, Entry::ONE_PACKET),
        (options.move_udp, Entry::MOVE_UDP),
        (!options.timeouts.is_empty(), Entry::OWN_TIMEOUTS),
    ]
    .into_iter()
    .filter(|(is, _)| *is)
    {
        flags |= bit;
    }
    entry.flags.store(flags);
    let scheduler = wire::scheduler(options.scheduler) as u32;
    if entry.scheduler.load() != scheduler {
        entry.scheduler.store(scheduler);
        entry.cursor.store(0);
    }
}

/// The options that an entry's words are.
pub(crate) fn read(
    entry: &Entry,
    family: Family,
    per_second: u32,
    rules: Vec<MatchRule>,
) -> Option<ServiceOptions> {
    let flags = entry.flags.load();
    let scheduler = wire::scheduler_back(entry.scheduler.load())?;
    let mut scheduler_flags = SchedulerFlags::NONE;
    for (flag, bits) in [
        (SchedulerFlags::FIRST, Entry::FALLBACK | Entry::FLAG1),
        (SchedulerFlags::SECOND, Entry::PORT | Entry::FLAG2),
        (SchedulerFlags::THIRD, Entry::FLAG3),
    ] {
        if flags & bits != 0 {
            scheduler_flags = scheduler_flags.and(flag);
        }
    }
    let mut timeouts = OwnTimeouts::NONE;
    for timer in Timer::all() {
        let ticks = entry.timeouts.get(timer as usize)?.load();
        if ticks != 0 {
            let seconds = u64::from(ticks / per_second.max(1)).max(1);
            timeouts.set(timer, Some(Duration::from_secs(seconds)));
        }
    }
    Some(ServiceOptions {
        scheduler,
        scheduler_flags,
        persistence: persistence(entry, family),
        one_packet: flags & Entry::ONE_PACKET != 0,
        timeouts,
        move_udp: flags & Entry::MOVE_UDP != 0,
        rules,
    })
}

fn persistence(entry: &Entry, family: Family) -> Option<Persistence> {
    let seconds = entry.persistence_seconds.load();
    let timeout = PersistenceTimeout::from_secs(seconds.into()).ok()?;
    let netmask = match (family, entry.netmask.load()) {
        (Family::V4, u32::MAX) | (Family::V6, 128) => None,
        (Family::V4, mask) => Some(Netmask::Mask(Ipv4Addr::from(mask.to_ne_bytes()))),
        (Family::V6, bits) => Netmask::prefix(u8::try_from(bits).ok()?).ok(),
    };
    Some(Persistence {
        timeout,
        netmask,
        engine: (entry.engine.load() == Entry::SIP).then_some(Engine::Sip),
    })
}

/// Where the first flag of a scheduler lies: where it means something to the data path, and elsewhere.
const fn first(scheduler: Scheduler) -> u32 {
    if matches!(scheduler, Scheduler::Sh | Scheduler::Mh) {
        Entry::FALLBACK
    } else {
        Entry::FLAG1
    }
}

/// The same for the second.
const fn second(scheduler: Scheduler) -> u32 {
    if matches!(scheduler, Scheduler::Sh | Scheduler::Mh) {
        Entry::PORT
    } else {
        Entry::FLAG2
    }
}

/// Writes what a server has besides address, port and method. `own_timeouts` says whether its service has any.
pub(crate) fn write_server(entry: &ServerEntry, server: &Server, own_timeouts: bool) {
    let weight = server.weight().get();
    if weight > 0 {
        entry.last_weight.store(weight);
    }
    entry.weight.store(weight);
    let former = (entry.upper.load(), entry.lower.load());
    let (upper, lower) = (server.thresholds().upper(), server.thresholds().lower());
    entry.lower.store(lower);
    entry.upper.store(upper);
    entry.tunnel.store(tunnel_word(server.tunnel()));
    let mut flags = entry.flags.load() & !(ServerEntry::CAPPED | ServerEntry::OWN_TIMEOUTS);
    if upper > 0 {
        flags |= ServerEntry::CAPPED;
    }
    if own_timeouts {
        flags |= ServerEntry::OWN_TIMEOUTS;
    }
    entry.flags.store(flags);
    if former != (upper, lower) {
        // After the thresholds, since packets go by them too.
        judge(entry);
    }
}

/// Says whether a server with other thresholds than before is overloaded: between the two it stays as it is (IPVS:
/// `ip_vs_dest_update_overload`).
fn judge(entry: &ServerEntry) {
    if entry.upper.load() == 0 || counts::has_few(entry) {
        entry.overloaded.store(0);
    } else if counts::is_full(entry) {
        entry.overloaded.store(1);
    }
}

/// The thresholds and the kind of tunnel that an entry's words are.
pub(crate) fn read_server(entry: &ServerEntry, server: Server) -> Option<Server> {
    let thresholds = Thresholds::new(entry.upper.load().into(), entry.lower.load().into()).ok()?;
    server
        .with_tunnel(tunnel_back(entry.tunnel.load())?)
        .ok()
        .map(|server| server.with_thresholds(thresholds))
}

fn tunnel_word(tunnel: Tunnel) -> u32 {
    match tunnel {
        Tunnel::Ipip => Encapsulation::Ipip as u32,
        Tunnel::Gue { port, checksum } => {
            let bits = match checksum {
                GueChecksum::None => 0,
                GueChecksum::Csum => ServerEntry::CHECKSUM,
                GueChecksum::Remcsum => ServerEntry::REMOTE_CHECKSUM,
            };
            Encapsulation::Gue as u32 | bits | u32::from(port.get().to_be()) << 16
        }
        Tunnel::Gre { checksum } => {
            let bits = match checksum {
                GreChecksum::None => 0,
                GreChecksum::Csum => ServerEntry::CHECKSUM,
            };
            Encapsulation::Gre as u32 | bits
        }
    }
}

fn tunnel_back(word: u32) -> Option<Tunnel> {
    let has = |bit| word & bit != 0;
    let kind = word & 0xff;
    if kind == Encapsulation::Ipip as u32 {
        Some(Tunnel::Ipip)
    } else if kind == Encapsulation::Gue as u32 {
        Some(Tunnel::Gue {
            port: NonZeroU16::new(u16::from_be((word >> 16) as u16))?,
            checksum: if has(ServerEntry::CHECKSUM) {
                GueChecksum::Csum
            } else if has(ServerEntry::REMOTE_CHECKSUM) {
                GueChecksum::Remcsum
            } else {
                GueChecksum::None
            },
        })
    } else if kind == Encapsulation::Gre as u32 {
        Some(Tunnel::Gre {
            checksum: if has(ServerEntry::CHECKSUM) {
                GreChecksum::Csum
            } else {
                GreChecksum::None
            },
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rvs_config::{Method, Protocol, ServiceKey, Weight};

    #[test]
    fn options_read_back() {
        for (address, options) in [
            ("tcp://10.0.0.1:80", "{}"),
            (
                "udp://10.0.0.1:80",
                r#"{"scheduler":"mh","scheduler_flags":["mh-port","flag-3"],"one_packet":true,
                    "persistence":{"netmask":"255.0.255.0","engine":"sip"},"move_udp":true,"timeouts":{"udp":7}}"#,
            ),
            (
                "tcp://[2001:db8::1]:80",
                r#"{"scheduler":"rr","scheduler_flags":["flag-1","flag-2"],
                    "persistence":{"timeout":"31d","netmask":"/64"},
                    "timeouts":{"tcp":{"none":1,"established":2073600}}}"#,
            ),
            (
                "sctp://10.0.0.1:0",
                r#"{"scheduler":"sh","scheduler_flags":["sh-fallback"],"persistence":{"netmask":"0.0.0.0"},
                    "timeouts":{"sctp":{"closed":9}}}"#,
            ),
            ("fwmark6://7", r#"{"scheduler":"none"}"#),
        ] {
            let text = format!(
                r#"{{"address":"{address}",{}"#,
                options.trim_start_matches('{')
            );
            let text = text.replace(",}", "}");
            let service: rvs_config::Service = serde_json::from_str(&text).expect(&text);
            let entry = Entry::default();
            entry.flags.store(Entry::IN_USE | Entry::CONFIGURED);
            let family = service.key().family();
            for per_second in [100, 250, 1000] {
                write(&entry, service.options(), family, per_second);
                assert_eq!(
                    read(&entry, family, per_second, Vec::new()).as_ref(),
                    Some(service.options()),
                    "{text}"
                );
            }
            let kept = Entry::IN_USE | Entry::CONFIGURED;
            assert_eq!(entry.flags.load() & kept, kept);
            write(&entry, &ServiceOptions::default(), family, 100);
            assert_eq!(entry.flags.load(), kept);
            assert_eq!(
                read(&entry, family, 100, Vec::new()),
                Some(ServiceOptions::default())
            );
        }
    }

    #[test]
    fn servers_read_back() {
        let key = ServiceKey::new(Protocol::Tcp, "10.0.0.1".parse().expect("address"), 80);
        assert!(key.is_ok());
        for tunnel in [
            "ipip",
            "gue:6080",
            "gue:1:csum",
            "gue:65535:remcsum",
            "gre",
            "gre:csum",
        ] {
            let address = "10.1.0.1".parse().expect("address");
            let weight = Weight::new(3).expect("weight");
            let plain = Server::new(address, 80, Method::Tunnel, weight).expect("server");
            let server = plain
                .with_tunnel(tunnel.parse().expect(tunnel))
                .expect(tunnel)
                .with_thresholds(Thresholds::new(9, 4).expect("in order"));
            let entry = ServerEntry::default();
            write_server(&entry, &server, true);
            assert_eq!(read_server(&entry, plain), Some(server));
            assert_eq!(
                entry.flags.load(),
                ServerEntry::CAPPED | ServerEntry::OWN_TIMEOUTS
            );
            write_server(&entry, &plain.with_weight(Weight::ZERO), false);
            assert_eq!((entry.flags.load(), entry.last_weight.load()), (0, 3));
        }
    }

    #[test]
    fn other_thresholds_begin_and_end_an_overload() {
        let address = "10.1.0.1".parse().expect("address");
        let weight = Weight::new(1).expect("weight");
        let plain = Server::new(address, 80, Method::Direct, weight).expect("server");
        let entry = ServerEntry::default();
        entry.active.store(6);
        entry.inactive.store(4);
        let after = |upper, lower| {
            let thresholds = Thresholds::new(upper, lower).expect("in order");
            write_server(&entry, &plain.with_thresholds(thresholds), false);
            entry.overloaded.load() != 0
        };
        // Ten connections. More than fit; as many as fit.
        assert!(after(8, 0));
        assert!(after(10, 5));
        // Between the thresholds it stays as it was, without a lower one from three quarters of the upper on.
        assert!(after(11, 10));
        assert!(after(13, 0));
        assert!(!after(14, 0));
        assert!(!after(13, 0));
        assert!(!after(11, 10));
        assert!(after(10, 0));
        assert!(!after(11, 11));
        assert!(after(10, 0));
        assert!(!after(0, 0));
        // What did not change leaves it alone.
        entry.overloaded.store(1);
        assert!(after(0, 0));
    }
}

//! Next hops, asked of real kernels' tables in namespaces.

use rvs_dataplane::hops::{Hop, HopError, Keeper, resolve};
use rvs_lab::{Host, Lab};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const ENETUNREACH: i32 = 101;
const EHOSTUNREACH: i32 = 113;
/// Enough for any resolution that succeeds at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two hosts on one link, `near` (.1) and `far` (.2).
struct Pair {
    near: Host,
    far: Host,
    _lab: Lab,
}

impl Pair {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let (near, far) = (lab.host("near")?, lab.host("far")?);
        lab.link(&near, "eth0", &far, "eth0")?;
        for (host, number) in [(&near, 1), (&far, 2)] {
            host.add_address("eth0", &format!("10.0.0.{number}/24"))?;
            host.add_address("eth0", &format!("2001:db8::{number}/64"))?;
        }
        let pair = Self {
            near,
            far,
            _lab: lab,
        };
        // The kernel makes the local route of an IPv6 address in a work queue, after `ip address add` has returned.
        let start = Instant::now();
        while !pair.hop("2001:db8::1")?.is_ok_and(|hop| hop.local) {
            if start.elapsed() > PATIENCE {
                return Err("no local route of 2001:db8::1".into());
            }
        }
        Ok(pair)
    }

    /// Destination and source of frames from near to far.
    fn macs(&self) -> Result<[u8; 12]> {
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&self.far.mac("eth0")?);
        macs[6..].copy_from_slice(&self.near.mac("eth0")?);
        Ok(macs)
    }

    /// One pass for one address.
    fn hop(&self, address: &str) -> Result<std::result::Result<Hop, HopError>> {
        let address: IpAddr = address.parse()?;
        let mut hops = inside(&self.near, || async move {
            let (connection, mut handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            std::io::Result::Ok(resolve(&mut handle, &[address]).await)
        })??;
        let (answered, hop) = hops.pop().ok_or("no answer")?;
        assert_eq!((answered, hops.len()), (address, 0));
        Ok(hop)
    }

    /// Passes until the neighbour is known.
    fn known_hop(&self, address: &str) -> Result<Hop> {
        let start = Instant::now();
        loop {
            let hop = self.hop(address)??;
            if hop.macs.is_some() {
                return Ok(hop);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{address}: no neighbour: {hop:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs on a runtime of its own in a host's namespace.
fn inside<F, T>(host: &Host, work: impl FnOnce() -> F + Send) -> Result<T>
where
    F: Future<Output = T>,
    T: Send,
{
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::io::Result::Ok(runtime.block_on(work()))
    };
    Ok(host.in_namespace(run)??)
}

#[test]
fn direct_neighbours() -> Result {
    let pair = Pair::new()?;
    for (address, source) in [("10.0.0.2", "10.0.0.1"), ("2001:db8::2", "2001:db8::1")] {
        let first = pair.hop(address)??;
        assert_eq!(first.macs, None, "{address} was never talked to");
        let expected = Hop {
            ifindex: pair.near.ifindex("eth0")?,
            gateway: None,
            source: Some(source.parse()?),
            mtu: 1500,
            local: false,
            macs: Some(pair.macs()?),
        };
        assert_eq!(pair.known_hop(address)?, expected);
    }
    Ok(())
}

#[test]
fn gateways_and_route_mtus() -> Result {
    let pair = Pair::new()?;
    let routes = [
        ("10.9.0.0/16", "10.0.0.2", "10.9.1.1"),
        ("2001:db8:9::/48", "2001:db8::2", "2001:db8:9::1"),
    ];
    for (network, gateway, address) in routes {
        pair.near
            .route(&["add", network, "via", gateway, "mtu", "1400"])?;
        let hop = pair.known_hop(address)?;
        assert_eq!(hop.gateway, Some(gateway.parse()?));
        assert_eq!(hop.mtu, 1400);
        assert_eq!(hop.macs, Some(pair.macs()?));
        assert!(!hop.local);
    }
    Ok(())
}

#[test]
fn gateway_of_the_other_family() -> Result {
    let pair = Pair::new()?;
    let words = "ip route add 10.8.0.0/16 via inet6 2001:db8::2 dev eth0";
    pair.near.run(&words.split(' ').collect::<Vec<_>>())?;
    let hop = pair.known_hop("10.8.0.1")?;
    assert_eq!(hop.gateway, Some("2001:db8::2".parse()?));
    assert_eq!(hop.source, Some("10.0.0.1".parse()?));
    assert_eq!(hop.macs, Some(pair.macs()?));
    Ok(())
}

#[test]
fn own_addresses_are_local() -> Result {
    let pair = Pair::new()?;
    for address in ["10.0.0.1", "2001:db8::1", "127.0.0.1", "::1"] {
        let hop = pair.hop(address)??;
        assert!(hop.local, "{address}: {hop:?}");
        assert_eq!((hop.gateway, hop.macs), (None, None), "{address}");
    }
    Ok(())
}

#[test]
fn no_way() -> Result {
    let pair = Pair::new()?;
    pair.near.route(&["add", "unreachable", "10.7.0.0/16"])?;
    pair.near
        .route(&["add", "unreachable", "2001:db8:7::/48"])?;
    let cases = [
        ("192.0.2.1", ENETUNREACH),
        ("2001:db8:1::1", ENETUNREACH),
        ("10.7.0.1", EHOSTUNREACH),
    ];
    for (text, errno) in cases {
        let address = text.parse()?;
        assert_eq!(pair.hop(text)?, Err(HopError::NoRoute { address, errno }));
    }
    for address in ["2001:db8:7::1", "224.0.0.1", "ff02::1", "10.0.0.255"] {
        assert!(pair.hop(address)?.is_err(), "{address}");
    }
    let error = pair.hop("192.0.2.1")?.err().ok_or("a way")?;
    assert!(
        error
            .to_string()
            .starts_with("no route to 192.0.2.1: Network"),
        "{error}"
    );
    Ok(())
}

#[test]
fn silent_neighbour_is_a_hop_without_macs() -> Result {
    let pair = Pair::new()?;
    for address in ["10.0.0.77", "2001:db8::77"] {
        for _ in 0..10 {
            let hop = pair.hop(address)??;
            assert_eq!((hop.macs, hop.mtu), (None, 1500));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // It was asked for nevertheless.
    let table = pair.near.run(&["ip", "neigh", "show", "10.0.0.77"])?;
    assert!(
        table.contains("INCOMPLETE") || table.contains("FAILED"),
        "{table}"
    );
    Ok(())
}

#[test]
fn devices_without_hardware_addresses() -> Result {
    let pair = Pair::new()?;
    let near = &pair.near;
    near.run(&["ip", "tuntap", "add", "dev", "tun0", "mode", "tun"])?;
    near.add_address("tun0", "10.5.0.1/24")?;
    near.up("tun0")?;
    near.set_mtu("tun0", 1380)?;
    let hop = pair.hop("10.5.0.2")??;
    assert_eq!(hop.ifindex, near.ifindex("tun0")?);
    assert_eq!((hop.macs, hop.mtu, hop.local), (None, 1380, false));
    Ok(())
}

#[test]
fn permanent_neighbours_stay_permanent() -> Result {
    let pair = Pair::new()?;
    let address = "10.0.0.66";
    pair.near
        .neighbour("eth0", address.parse()?, [2, 0, 0, 0, 0, 0x66])?;
    for _ in 0..3 {
        let macs = pair.hop(address)??.macs.ok_or("no macs")?;
        assert_eq!(macs[..6], [2, 0, 0, 0, 0, 0x66]);
        assert_eq!(macs[6..], pair.near.mac("eth0")?);
    }
    let table = pair.near.run(&["ip", "neigh", "show", address])?;
    assert!(table.contains("PERMANENT"), "{table}");
    Ok(())
}

/// Runs a keeper in the near host and hands its reports to the closure.
fn kept<T: Send>(
    pair: &Pair,
    addresses: &[&str],
    work: impl AsyncFnOnce(&Keeper, &mut Reports) -> Result<T> + Send,
) -> Result<T> {
    let addresses = addresses
        .iter()
        .map(|address| address.parse())
        .collect::<std::result::Result<Vec<IpAddr>, _>>()?;
    let result = inside(&pair.near, || async move {
        let (sender, receiver) = mpsc::unbounded_channel();
        let keeper = Keeper::start(addresses, move |hops| drop(sender.send(hops)))
            .map_err(|error| error.to_string())?;
        work(&keeper, &mut Reports(receiver))
            .await
            .map_err(|error| error.to_string())
    })?;
    Ok(result?)
}

type Hops = BTreeMap<IpAddr, Option<Hop>>;

struct Reports(mpsc::UnboundedReceiver<Vec<(IpAddr, Option<Hop>)>>);

impl Reports {
    async fn next(&mut self) -> Result<Hops> {
        let report = tokio::time::timeout(PATIENCE, self.0.recv()).await?;
        Ok(report.ok_or("the keeper ended")?.into_iter().collect())
    }

    async fn until(&mut self, what: &str, condition: impl Fn(&Hops) -> bool) -> Result<Hops> {
        let start = Instant::now();
        loop {
            let hops = self.next().await?;
            if condition(&hops) {
                return Ok(hops);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{what}: {hops:?}").into());
            }
        }
    }
}

#[test]
fn keeper_notices_a_new_hardware_address() -> Result {
    let pair = Pair::new()?;
    // Confirmations fall due within seconds instead of minutes.
    for family in ["ipv4", "ipv6"] {
        for (key, value) in [
            ("base_reachable_time_ms", "500"),
            ("retrans_time_ms", "100"),
            ("delay_first_probe_time", "1"),
        ] {
            pair.near
                .sysctl(&format!("net.{family}.neigh.eth0.{key}"), value)?;
        }
    }
    let old = pair.macs()?;
    let far = pair.far.clone();
    let hops = kept(&pair, &["10.0.0.2", "2001:db8::2"], async |_, reports| {
        let all = |hops: &Hops, macs: [u8; 12]| {
            hops.values()
                .all(|hop| hop.is_some_and(|hop| hop.macs == Some(macs)))
        };
        reports.until("first", |hops| all(hops, old)).await?;
        // Nobody tells the near host: there is no gratuitous ARP and no traffic.
        far.run(&["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"])?;
        let mut new = old;
        new[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0x99]);
        reports.until("new address", |hops| all(hops, new)).await
    })?;
    assert_eq!(hops.len(), 2);
    Ok(())
}

#[test]
fn keeper_tells_of_changes_before_its_second_is_over() -> Result {
    let pair = Pair::new()?;
    let near = pair.near.clone();
    let address: IpAddr = "10.9.0.1".parse()?;
    let fastest = kept(&pair, &["10.9.0.1"], async |_, reports| {
        let first = reports.next().await?;
        assert_eq!(first.get(&address), Some(&None));
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            // Right after a report, the next regular one is a second away.
            for (verb, there) in [("add", true), ("del", false)] {
                reports.next().await?;
                let start = Instant::now();
                near.route(&[verb, "10.9.0.0/16", "via", "10.0.0.2"])?;
                reports
                    .until(verb, |hops| {
                        hops.get(&address).is_some_and(|hop| hop.is_some() == there)
                    })
                    .await?;
                fastest = fastest.min(start.elapsed());
            }
        }
        Ok(fastest)
    })?;
    assert!(fastest < Duration::from_millis(700), "{fastest:?}");
    Ok(())
}

#[test]
fn keeper_takes_another_set() -> Result {
    let pair = Pair::new()?;
    kept(&pair, &["10.0.0.2"], async |keeper, reports| {
        reports
            .until("one", |hops| {
                hops.values().flatten().any(|hop| hop.macs.is_some())
            })
            .await?;
        keeper.watch(vec!["10.0.0.1".parse()?, "192.0.2.1".parse()?]);
        let hops = reports.until("another", |hops| hops.len() == 2).await?;
        let local = hops.get(&"10.0.0.1".parse::<IpAddr>()?).copied().flatten();
        assert!(local.is_some_and(|hop| hop.local), "{hops:?}");
        assert_eq!(hops.get(&"192.0.2.1".parse::<IpAddr>()?), Some(&None));
        keeper.watch(Vec::new());
        reports.until("none", Hops::is_empty).await.map(drop)
    })
}

//! Real HTTP through the director, by NAT at tc, and through nftables: new connections a second and
//! bulk throughput. nginx answers, wrk asks; the two networks are alike and are measured in turns.

use std::{
    net::IpAddr,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rvs_config::Method;
use rvs_dataplane::{Dataplane, Origin, hops::Hop};
use rvs_lab::{Family, Lab, Nginx, NginxOptions, Topology};

use crate::{
    Wanted,
    bed::{self, SERVERS, VIP},
    report::{Report, Row, Target, median},
    veth::nftables,
};

const NEW: &str = "tc nat new TCP connections";
const BULK: &str = "tc nat bulk TCP";
const NFTABLES: &str = "nftables DNAT";
const SECONDS: u32 = 2;
const BIG_BYTES: u64 = 64 << 20;

/// Both rows.
pub(crate) fn run(wanted: &Wanted, report: &mut Report) -> Result<()> {
    let rows: Vec<&str> = [NEW, BULK]
        .into_iter()
        .filter(|name| wanted.any(&[name]))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut theirs = Cluster::new()?;
    nftables(&theirs.topology.director, "tcp")?;
    let mut ours = Cluster::new()?;
    ours.direct()?;
    let done = measure(&rows, &mut ours, &mut theirs, wanted, report);
    if let Some(dataplane) = ours.dataplane.take() {
        ours.topology
            .director
            .in_namespace(|| dataplane.detach())??;
    }
    done
}

fn measure(
    rows: &[&str],
    ours: &mut Cluster,
    theirs: &mut Cluster,
    wanted: &Wanted,
    report: &mut Report,
) -> Result<()> {
    for name in rows {
        let mut found = (Vec::new(), Vec::new());
        for _ in 0..wanted.runs {
            found.0.push(ours.load(name)?);
            found.1.push(theirs.load(name)?);
        }
        let (value, peer) = (median(&found.0), median(&found.1));
        report.add(match *name {
            NEW => Row::new(NEW, "/s", value).against(NFTABLES, peer),
            _ => Row::new(BULK, "MB/s", value)
                .against(NFTABLES, peer)
                .target(Target::Ratio(1.0)),
        });
    }
    Ok(())
}

/// A client, a director and two web servers.
struct Cluster {
    dataplane: Option<Dataplane>,
    hops: Vec<(IpAddr, Option<Hop>)>,
    _servers: Vec<Nginx>,
    topology: Topology,
    _lab: Lab,
}

impl Cluster {
    fn new() -> Result<Self> {
        let lab = Lab::new()?;
        let topology = Topology::with_real_servers(&lab, SERVERS.len())?;
        topology.static_neighbours()?;
        let options = NginxOptions {
            big_bytes: BIG_BYTES,
            ..NginxOptions::default()
        };
        let servers: Result<Vec<Nginx>, _> = topology
            .real_servers
            .iter()
            .map(|host| Nginx::start_with(host, &options))
            .collect();
        Ok(Self {
            dataplane: None,
            hops: Vec::new(),
            _servers: servers?,
            topology,
            _lab: lab,
        })
    }

    /// Puts a director in the middle.
    fn direct(&mut self) -> Result<()> {
        let director = &self.topology.director;
        for (number, host) in self.topology.real_servers.iter().enumerate() {
            let mut macs = [0; 12];
            macs[..6].copy_from_slice(&host.mac("eth1")?);
            macs[6..].copy_from_slice(&director.mac("eth1")?);
            let hop = Hop {
                ifindex: director.ifindex("eth1")?,
                gateway: None,
                source: Some(Topology::director_inside_address(Family::V4)),
                mtu: 1500,
                local: false,
                macs: Some(macs),
            };
            let address = Topology::inside_address(number, Family::V4);
            self.hops.push((address, Some(hop)));
        }
        let settings = bed::settings(director, &["eth0", "eth1"])?;
        let (dataplane, _) = director.in_namespace(|| Dataplane::open(&settings))??;
        let dataplane = self.dataplane.insert(dataplane);
        dataplane.add_service(
            &bed::service("tcp", Method::Nat, &SERVERS)?,
            Origin::Runtime,
        )?;
        dataplane.apply_hops(&self.hops);
        Ok(())
    }

    /// Connections a second, or megabytes a second.
    fn load(&mut self, row: &str) -> Result<f64> {
        let seconds = format!("-d{SECONDS}s");
        let mut wrk = self.topology.client.command("wrk");
        if row == NEW {
            let url = format!("http://{VIP}/id");
            wrk.args(["-t1", "-c32", &seconds, "-H", "Connection: close", &url]);
        } else {
            wrk.args(["-t1", "-c4", &seconds, &format!("http://{VIP}/big")]);
        }
        let said = self.wait(&mut wrk)?;
        if said.contains("Non-2xx") || said.contains("Socket errors") {
            bail!("{row}: {said}");
        }
        let field = if row == NEW {
            "Requests/sec:"
        } else {
            "Transfer/sec:"
        };
        said.lines()
            .find_map(|line| line.trim().strip_prefix(field))
            .and_then(amount)
            .with_context(|| format!("wrk said: {said}"))
    }

    /// Lets a program run, and does meanwhile what the daemon does every second.
    fn wait(&mut self, command: &mut Command) -> Result<String> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("wrk (package wrk)")?;
        while child.try_wait()?.is_none() {
            if let Some(dataplane) = &mut self.dataplane {
                dataplane.apply_hops(&self.hops);
                dataplane.tick();
            }
            sleep(Duration::from_millis(500));
        }
        Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
    }
}

/// A plain number as it is; bytes in millions.
fn amount(text: &str) -> Option<f64> {
    let text = text.trim();
    // wrk counts in powers of two.
    for (unit, factor) in [
        ("GB", 1024.0 * 1.048_576),
        ("MB", 1.048_576),
        ("KB", 0.001_024),
    ] {
        if let Some(number) = text.strip_suffix(unit) {
            return number.parse::<f64>().ok().map(|number| number * factor);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        assert_eq!(amount("  1234.5"), Some(1234.5));
        assert_eq!(amount(" 2.00MB"), Some(2.097_152));
        assert_eq!(amount("none"), None);
    }
}

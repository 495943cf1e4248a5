//! `rvs realserver up|down|check`: prepares this host to be a real server, and undoes exactly what
//! it did.
//!
//! With direct routing and tunnels a real server has the service's address itself, but must not
//! speak ARP for it: the address goes onto `lo`, and ARP is told to keep silent about it. A
//! tunnel's packets also need somebody to take them out: the kernel's ipip devices where it has
//! them, and else our own tc program. With NAT there is nothing to change, only to check.
//!
//! ```text
//! state (the host as it is) ─► plan (what is missing) ─► apply ─► record ─► undo
//!                          └─► check (findings)
//! ```
//!
//! The plan and the check are pure. Every change is recorded before it is made, so that a run that
//! was killed half-way can still be undone; `down` leaves alone what somebody else changed since.

mod apply;
pub(crate) mod check;
pub(crate) mod network;
mod plan;
mod record;
pub(crate) mod state;
pub(crate) mod sysctl;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rvs_config::{Director, Method};
use serde::Serialize;

use crate::doctor::{self, Finding, Level, Report};
use apply::Undone;
use network::{Family, Made, Network, block_on};
use plan::{Change, plan};
use record::{Record, Store};
use state::{State, Wanted};

/// The words after `rvs realserver`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Prepare this host; does nothing where nothing is missing
    Up(Target),
    /// Undo what `up` changed, and nothing else
    Down(Output),
    /// Say what is in order and what is not; exit status 1 if something is not
    Check(Target),
}

/// What this host shall be.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// A service's address (may be given again; `check` knows those of `up`)
    #[arg(long = "vip", value_name = "ADDRESS")]
    vips: Vec<IpAddr>,
    /// How packets get here: nat, tunnel or direct
    #[arg(long)]
    method: Option<Method>,
    /// Where tunnelled packets arrive, if not at the default route's interface
    #[arg(long, value_name = "INTERFACE")]
    device: Option<String>,
    /// With NAT, the director's address on this side
    #[arg(long, value_name = "ADDRESS")]
    director: Option<IpAddr>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where the BPF file system is mounted
    #[arg(long, value_name = "DIRECTORY", default_value = Director::DEFAULT_BPFFS)]
    bpffs: PathBuf,
}

/// What `up` and `down` did.
#[derive(Debug, Serialize)]
struct Done {
    changed: Vec<String>,
    notices: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<Finding>,
}

/// Does what the words say.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Up(target) => up(target),
        Action::Down(output) => down(output),
        Action::Check(target) => doctor::print(&Report::new(examine(target)?), target.output.json),
    }
}

/// What there is to say about this host as a real server.
pub(crate) fn examine(target: &Target) -> anyhow::Result<Vec<Finding>> {
    let wanted = target.wanted(record::peek()?.as_ref())?;
    let bpffs = &target.output.bpffs;
    let state = block_on(async |network| State::collect(&network, bpffs).await)?;
    Ok(check::check(&state, &wanted))
}

impl Target {
    /// For `rvs doctor --realserver`.
    pub(crate) fn new(
        vips: Vec<IpAddr>,
        method: Option<Method>,
        device: Option<String>,
        bpffs: PathBuf,
    ) -> Self {
        Self {
            vips,
            method,
            device,
            director: None,
            output: Output { json: false, bpffs },
        }
    }

    /// What is wanted; what is not said is taken from the record.
    fn wanted(&self, record: Option<&Record>) -> anyhow::Result<Wanted> {
        let mut vips = self.vips.clone();
        if vips.is_empty()
            && let Some(record) = record
        {
            vips.clone_from(&record.vips);
        }
        if vips.is_empty() {
            bail!("no service's address is given: --vip ADDRESS");
        }
        vips.sort();
        vips.dedup();
        if let Some(vip) = vips.iter().find(|vip| !is_a_hosts(**vip)) {
            bail!("{vip} cannot be a service's address");
        }
        let recorded = record.map(|record| record.method);
        Ok(Wanted {
            vips,
            method: self.method.or(recorded).unwrap_or_default(),
            device: self
                .device
                .clone()
                .or_else(|| record.and_then(|record| record.device.clone())),
            director: self.director,
        })
    }
}

fn is_a_hosts(address: IpAddr) -> bool {
    let is_broadcast = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast)
}

fn up(target: &Target) -> anyhow::Result<ExitCode> {
    let store = Store::open()?;
    let bpffs = target.output.bpffs.as_path();
    let recorded = store.load()?;
    let wanted = target.wanted(recorded.as_ref())?;
    let done = block_on(async |network| {
        let state = State::collect(&network, bpffs).await?;
        let recorded = recorded.filter(|record| is_alive(record, &state));
        if let Some(record) = &recorded
            && record.method != wanted.method
        {
            bail!(
                "this host is prepared for {}, not for {}: rvs realserver down",
                record.method,
                wanted.method
            );
        }
        let mut record =
            recorded.unwrap_or_else(|| Record::new(wanted.method, wanted.device.clone()));
        record.vips.extend(&wanted.vips);
        record.vips.sort();
        record.vips.dedup();
        let kept = record.changes.len();
        match make(&network, bpffs, &store, &wanted, &mut record).await {
            Ok(()) => {
                if record.changes.is_empty() {
                    // Everything was there before: there will be nothing to undo.
                    store.remove()?;
                }
                let state = State::collect(&network, bpffs).await?;
                let changed = record.changes.iter().skip(kept);
                Ok(Done {
                    changed: changed.map(ToString::to_string).collect(),
                    notices: Vec::new(),
                    findings: check::check(&state, &wanted)
                        .into_iter()
                        .filter(|finding| finding.level != Level::Ok)
                        .collect(),
                })
            }
            Err(error) => Err(take_back(&network, bpffs, &store, record, kept, error).await),
        }
    })?;
    print(&done, "ready: nothing to change", &target.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes all changes that are missing; each is in the record before it is made.
async fn make(
    network: &Network,
    bpffs: &Path,
    store: &Store,
    wanted: &Wanted,
    record: &mut Record,
) -> anyhow::Result<()> {
    let before = State::collect(network, bpffs).await?;
    // Refused before anything is touched, and before a kernel module is loaded.
    let refused = plan(&before, wanted, &record.changes);
    if wanted.method == Method::Tunnel {
        refused.or_else(|error| match error {
            // The kernel may turn out to have tunnels of its own.
            plan::PlanError::NoDevice => Ok(Vec::new()),
            plan::PlanError::Answers { .. }
            | plan::PlanError::Network { .. }
            | plan::PlanError::NotHere { .. }
            | plan::PlanError::UnknownDevice(_)
            | plan::PlanError::NoLoopback => Err(error),
        })?;
        for family in Family::ALL {
            if wanted.has(family) && before.tunnel(family).is_none() {
                make_tunnel(network, store, family, record).await?;
            }
        }
    } else {
        refused?;
    }
    let state = State::collect(network, bpffs).await?;
    for change in plan(&state, wanted, &record.changes)? {
        record.changes.push(change.clone());
        store.save(record)?;
        apply::apply(network, bpffs, &change).await?;
    }
    if !record.changes.is_empty() {
        store.save(record)?;
    }
    Ok(())
}

async fn make_tunnel(
    network: &Network,
    store: &Store,
    family: Family,
    record: &mut Record,
) -> anyhow::Result<()> {
    let name = state::tunnel_name(family);
    record.changes.push(Change::Device {
        name: name.to_owned(),
    });
    store.save(record)?;
    match network.make_tunnel(name, family).await {
        Ok(Made::New) => Ok(()),
        // One that comes with the kernel's module cannot be removed, and need not be.
        Ok(Made::Found | Made::Unknown) => {
            record.changes.pop();
            Ok(())
        }
        Err(error) => {
            record.changes.pop();
            Err(error).with_context(|| format!("cannot make {name}"))
        }
    }
}

/// Undoes what a run that failed did, beyond what was there before it.
async fn take_back(
    network: &Network,
    bpffs: &Path,
    store: &Store,
    mut record: Record,
    kept: usize,
    error: anyhow::Error,
) -> anyhow::Error {
    let mut error = error;
    while record.changes.len() > kept {
        let Some(change) = record.changes.last() else {
            break;
        };
        match apply::undo(network, bpffs, change).await {
            Ok(Undone::Yes | Undone::Gone | Undone::LeftAlone(_)) => {
                record.changes.pop();
            }
            Err(second) => {
                // It stays in the record, so that `down` can try again.
                return error.context(format!("and could not undo \"{change}\": {second:#}"));
            }
        }
    }
    let stored = if record.changes.is_empty() {
        store.remove()
    } else {
        store.save(&record)
    };
    if let Err(second) = stored {
        error = error.context(format!("{second:#}"));
    }
    error
}

/// Whether anything of what was recorded still is as it was made. If nothing is, the record is of
/// another namespace that had this one's number.
fn is_alive(record: &Record, state: &State) -> bool {
    record.changes.iter().any(|change| match change {
        Change::Sysctl { key, to, .. } => state
            .sysctls
            .get(key)
            .copied()
            .or_else(|| key.number())
            .is_some_and(|value| value == *to),
        Change::Device { name } | Change::Up { device: name } => state.device(name).is_some(),
        Change::Decapsulation { device, .. } => state.attached.contains(device),
        Change::Address { vip, .. } => state.is_on_loopback(*vip),
    })
}

fn down(output: &Output) -> anyhow::Result<ExitCode> {
    let store = Store::open()?;
    let bpffs = output.bpffs.as_path();
    let Some(mut record) = store.load()? else {
        let done = Done {
            changed: Vec::new(),
            notices: Vec::new(),
            findings: Vec::new(),
        };
        print(&done, "nothing to undo", output)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (done, failed) = block_on(async |network| {
        let mut done = Done {
            changed: Vec::new(),
            notices: Vec::new(),
            findings: Vec::new(),
        };
        let mut failed = Vec::new();
        let mut left = Vec::new();
        for change in record.changes.drain(..).rev() {
            match apply::undo(&network, bpffs, &change).await {
                Ok(Undone::Yes) => done.changed.push(format!("undone: {change}")),
                Ok(Undone::Gone) => {}
                Ok(Undone::LeftAlone(why)) => done.notices.push(format!("{why}: left alone")),
                Err(error) => {
                    failed.push(format!("{error:#}"));
                    left.push(change);
                }
            }
        }
        left.reverse();
        record.changes = left;
        Ok((done, failed))
    })?;
    if record.changes.is_empty() {
        store.remove()?;
    } else {
        store.save(&record)?;
    }
    print(&done, "nothing to undo", output)?;
    for error in &failed {
        eprintln!("rvs realserver: {error}");
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(done: &Done, nothing: &str, output: &Output) -> anyhow::Result<()> {
    if output.json {
        println!("{}", serde_json::to_string_pretty(done)?);
        return Ok(());
    }
    for line in &done.changed {
        println!("{line}");
    }
    for notice in &done.notices {
        println!("notice: {notice}");
    }
    if done.changed.is_empty() && done.notices.is_empty() {
        println!("{nothing}");
    }
    if !done.findings.is_empty() {
        print!("{}", Report::new(done.findings.clone()));
    }
    Ok(())
}

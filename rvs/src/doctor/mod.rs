//! `rvs doctor`: looks at a director, or at a real server, and names what would keep it from
//! working, each with the command that mends it.
//!
//! ```text
//! collect (asks the kernel and the network) ─► facts ─► examine (pure) ─► findings ─► report
//! ```
//!
//! It changes nothing, and it needs no director that runs: it compares the configuration with the
//! host. Whether the director's tables hold what the configuration says is not asked here.

mod collect;
mod examine;
mod facts;
mod finding;

pub(crate) use finding::{Finding, Level, Report};

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use rvs_config::{Config, Director, Method, Name};

use crate::realserver;
use crate::selection::Selection;

/// Where configurations are unless told otherwise.
const CONFIGURATIONS: &str = "/etc/rvs";

/// The words after `rvs doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The director's configuration file
    #[arg(short, long, value_name = "FILE", conflicts_with = "realserver")]
    config: Option<PathBuf>,
    /// Which director of this machine [configuration: /etc/rvs/NAME.toml if there, else /etc/rvs/rvs.toml]
    #[arg(long, value_name = "NAME")]
    instance: Option<Name>,
    /// Look at this host as a real server
    #[arg(long)]
    realserver: bool,
    /// A service's address (may be given again)
    #[arg(long = "vip", value_name = "ADDRESS", requires = "realserver")]
    vips: Vec<IpAddr>,
    /// How packets get to this real server: nat, tunnel or direct
    #[arg(long, requires = "realserver")]
    method: Option<Method>,
    /// Where tunnelled packets arrive at this real server
    #[arg(long, value_name = "INTERFACE", requires = "realserver")]
    device: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does what the words say.
pub(crate) fn run(args: &Args, selection: &Selection) -> anyhow::Result<ExitCode> {
    let findings = if args.realserver {
        realserver::examine(&realserver::Target::new(
            args.vips.clone(),
            args.method,
            args.device.clone(),
            PathBuf::from(Director::DEFAULT_BPFFS),
        ))?
    } else {
        examine::examine(&collect::collect(&configuration(args, selection)?)?)
    };
    print(&Report::new(findings), args.json)
}

/// Prints a report; the exit status says whether it is all right.
pub(crate) fn print(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json {
        format!("{}\n", serde_json::to_string_pretty(report)?)
    } else {
        report.to_string()
    };
    // Whoever looks only at the first lines does not need the others.
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(error).context("cannot write to standard output");
        }
        Ok(()) | Err(_) => {}
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn configuration(args: &Args, selection: &Selection) -> anyhow::Result<Config> {
    let general = PathBuf::from(format!("{CONFIGURATIONS}/rvs.toml"));
    let own = args
        .instance
        .as_ref()
        .or(selection.instance.as_ref())
        .map(|instance| PathBuf::from(format!("{CONFIGURATIONS}/{instance}.toml")))
        .filter(|path| path.exists());
    let path = args.config.clone().or(own).unwrap_or(general);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Config::parse(&text, &path.to_string_lossy())?)
}

//! `cargo xtask demo`: a director and three web servers on this machine, in namespaces; real requests by every method.
//!
//! Whatever is shown is also checked: the demo fails if a request does, or if the numbers do not agree.

mod cluster;
mod shown;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rvs_lab::{Lab, Load};

use crate::compile::{self, Work};
use crate::progress::duration;
use crate::{process, setup};
use cluster::{Cluster, SERVERS, Way};
use shown::{KeptAlive, row, say, title};

/// Requests for each service, one after the other: a multiple of the number of servers, so that round robin comes out even.
const REQUESTS: u64 = 30;
/// Requests that must be answered, for each service, with the daemon dead and with it back.
const UNDER_LOAD: u64 = 100;
/// Builds in less than half the time of a release; the processor's work per packet is the kernel side's, which is the same.
const PROFILE: &str = "demo";
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything running, and say what to try.
    #[arg(long)]
    keep: bool,
    /// Remove what `--keep` left, and do nothing else.
    #[arg(long, conflicts_with = "keep")]
    clear: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    ensure!(
        process::is_root(),
        "the demo makes network namespaces and loads eBPF programs: run this as root"
    );
    setup::ensure()?;
    if args.clear {
        cluster::clear_kept()?;
        say("cleared");
        return Ok(ExitCode::SUCCESS);
    }
    cluster::clear_dead()?;
    let start = Instant::now();
    let mut cargo = process::cargo();
    cargo.args(["build", "--profile", PROFILE, "--package", "rvs"]);
    let work = Work::Crates(compile::crates_of("rvs"));
    compile::run(&mut cargo, "building rvs", work)?;
    let built = start.elapsed();

    let mut cluster = Cluster::new(Lab::new()?)?;
    let outcome = show(&mut cluster);
    if args.keep {
        cluster.keep()?;
    } else {
        title("Clearing away");
        cluster.clear()?;
    }
    outcome?;
    say(&format!(
        "\nEverything was as promised, in {} ({} of them building). Next: `cargo xtask demo --keep` leaves it running; \
         `cargo xtask parity` compares with the kernel's IPVS; docs/src/first-steps-nat.md makes a service of your own.",
        duration(start.elapsed()),
        duration(built)
    ));
    Ok(ExitCode::SUCCESS)
}

fn show(cluster: &mut Cluster) -> Result<()> {
    title("Two requests, two servers");
    let servers = cluster.start_servers()?;
    let director = cluster.start_director()?;
    two_requests(cluster)?;

    title("The cluster");
    say(&cluster.picture());
    title("The configuration");
    say(cluster.configuration());
    title("The real servers");
    say(&servers);
    title("The director");
    say(&director);

    title("A request by curl, to each service");
    for way in Way::all() {
        let url = format!("http://{}/id", way.address());
        let answer = cluster.net.client.curl(&url)?;
        say(&format!("curl {url:<28} -> {}", answer.trim()));
    }
    title("Who answered, and what the director counted");
    quiet(cluster)?;
    say("");
    say(&cluster.rvs(&["services"])?);
    say(&cluster.rvs(&["stats"])?);

    title("The daemon dies under load, and comes back");
    under_load(cluster)
}

/// The first thing to see: one address, and another server for the next connection.
fn two_requests(cluster: &Cluster) -> Result<()> {
    let url = format!("http://{}/id", Way::all()[0].address());
    let mut servers = Vec::new();
    for _ in 0..2 {
        let answer = cluster.net.client.curl(&url)?.trim().to_owned();
        say(&format!("curl {url:<28} -> {answer}"));
        servers.push(answer);
    }
    ensure!(
        servers.iter().collect::<BTreeSet<_>>().len() == 2,
        "round robin gave both connections to {}",
        servers.join(" and ")
    );
    Ok(())
}

/// So many requests to each service, and as many counted.
fn quiet(cluster: &Cluster) -> Result<()> {
    let mut head = vec!["Service".to_owned(), "Method".to_owned()];
    head.extend(SERVERS.map(str::to_owned));
    head.extend(["Failed".to_owned(), "Counted".to_owned()]);
    say(&row(&head));
    let mut amiss = Vec::new();
    for way in Way::all() {
        let before = cluster.counted(way.address())?;
        let report = cluster.net.client.get_many(way.address(), REQUESTS, 1)?;
        let counted = cluster.counted(way.address())? - before;
        let answers = SERVERS.map(|name| report.by_server.get(name).copied().unwrap_or(0));
        let mut cells = vec![way.address().to_string(), way.method.to_owned()];
        cells.extend(answers.map(|answers| answers.to_string()));
        cells.extend([report.failed.to_string(), counted.to_string()]);
        say(&row(&cells));
        if report.expect_none_failed().is_err() {
            amiss.push(format!(
                "{}: {}",
                way.address(),
                report.first_error.unwrap_or_default()
            ));
        }
        let share = REQUESTS / SERVERS.len() as u64;
        if counted != REQUESTS || answers.iter().any(|answers| *answers != share) {
            amiss.push(format!(
                "{}: {REQUESTS} requests were to be counted, {share} for each server",
                way.address()
            ));
        }
    }
    ensure!(amiss.is_empty(), "{}", amiss.join("; "));
    Ok(())
}

/// The daemon is killed and started again while requests run, and connections that are open stay so.
fn under_load(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.net.client.clone();
    let mut open = Vec::new();
    for way in Way::all() {
        open.push(KeptAlive::open(&client, way.address())?);
    }
    say(&format!(
        "{} keep-alive connections are open, one to each service.",
        open.len()
    ));
    let loads = Way::all()
        .into_iter()
        .map(|way| Load::start(&client, way.address(), 2))
        .collect::<Result<Vec<_>, _>>()?;
    let wait = |more: u64| {
        loads
            .iter()
            .try_for_each(|load| load.wait_for_more(more, PATIENCE))
    };
    let done = || loads.iter().map(Load::done).sum::<u64>();
    let ask_all = |open: &mut Vec<KeptAlive>| open.iter_mut().try_for_each(KeptAlive::ask);
    wait(UNDER_LOAD)?;
    let (pid, killed) = (cluster.kill_director()?, done());
    say(&format!(
        "kill -9 {pid}: the daemon is gone, after {killed} requests. Nobody but the kernel forwards now."
    ));
    ensure!(
        cluster.rvs(&["status"]).is_err(),
        "the daemon answers although it was killed"
    );
    wait(UNDER_LOAD)?;
    ask_all(&mut open).context("a connection did not outlive the daemon")?;
    say(&format!(
        "{} more requests were answered without it, and every open connection.",
        done() - killed
    ));
    let back = done();
    say(&cluster.start_director()?);
    let status = cluster.json(&["status"])?;
    ensure!(
        status["adoption"]["adoption"] == "adopted",
        "the new daemon did not take over: {status}"
    );
    wait(UNDER_LOAD)?;
    ask_all(&mut open).context("a connection did not outlive the new start")?;
    say(&format!(
        "{} more requests with the new one.",
        done() - back
    ));
    let reports: Vec<_> = loads.into_iter().map(Load::stop).collect();
    say("");
    say(&row(&["Service", "Answered", "Failed"]));
    for (way, report) in Way::all().into_iter().zip(&reports) {
        say(&row(&[
            way.address().to_string(),
            report.done.to_string(),
            report.failed.to_string(),
        ]));
    }
    for report in &reports {
        report.expect_none_failed()?;
    }
    still_listed(cluster, &open)
}

/// The director still knows the connections that were open before it died.
fn still_listed(cluster: &Cluster, open: &[KeptAlive]) -> Result<()> {
    let list = cluster.rvs(&["connections", "--limit", "100000"])?;
    let find = |client: SocketAddr| {
        list.lines().find(|line| {
            line.contains("ESTABLISHED")
                && line
                    .split_whitespace()
                    .any(|word| word == client.to_string())
        })
    };
    say("\nThe open connections, as the director that came back lists them:");
    say(list.lines().next().unwrap_or_default());
    for connection in open {
        let line = find(connection.local).with_context(|| {
            format!(
                "the connection from {} is not listed any more",
                connection.local
            )
        })?;
        say(line);
    }
    Ok(())
}

/// The command for a program with words, to run or to show.
fn command(program: &std::path::Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

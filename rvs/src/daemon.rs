//! `rvs run`: the daemon's wiring. Everything that can be refused is refused before the kernel is touched.
//!
//! ```text
//!   configuration ─► preflight ─► socket ─► data plane ─► director ─► READY
//!                                                                       │ a tick each second, requests, SIGHUP
//!   forwarding goes on, or is detached ◄─ director ends ◄─ API ends ◄─ SIGTERM, SIGINT or a request to stop
//! ```

mod notify;
mod plane;
mod preflight;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use rvs_config::{ForwardingOnStop, Name};
use rvs_control::actor::{self, Handle};
use rvs_control::api;
use rvs_control::director::Director;
use rvs_control::listener::Place;
use rvs_control::source::Source;
use rvs_control::wire;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::cli;
use crate::selection::Selection;
use notify::Notifier;

const TICK: Duration = Duration::from_secs(1);
/// How long requests that have begun may take when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs a director until it is told to stop.
pub(crate) fn run(args: cli::Run, selection: &Selection) -> anyhow::Result<ExitCode> {
    log_to_stderr();
    // What the daemon makes is its owner's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let source = source(args, selection);
    let config = source.load()?;
    preflight::check(&config.director)?;
    let mut place = Place::take(&config.director.socket)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let claim = plane::Claim::take(&config.director)?;
    let listener = place.bind()?;
    let (forwarding, adoption) = plane::open(&config.director)?;
    tracing::info!("director {}: {adoption:?}", config.director.instance);
    let director = Director::start(forwarding, adoption, config, source, SystemTime::now())?;
    runtime.block_on(serve(director, place, listener))?;
    drop(claim);
    Ok(ExitCode::SUCCESS)
}

/// Serves until told to stop, and leaves the traffic as it was told to.
async fn serve(director: Director, mut place: Place, listener: UnixListener) -> anyhow::Result<()> {
    let notifier = Notifier::from_environment();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (handle, thread) = actor::spawn(director)?;
    let ways = plane::find_next_hops(&handle).await?;
    let _hops = plane::keep_next_hops(&handle).await?;
    let (stop, mut stops) = mpsc::channel(1);
    let (end, ended) = watch::channel(false);
    let context = api::Context {
        director: handle.clone(),
        stop,
        ways: Some(ways),
    };
    let mut servers = JoinSet::new();
    servers.spawn(api::serve(listener, context.clone(), ended.clone()));
    let mut seconds = tokio::time::interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    notifier.ready();
    tracing::info!("ready");
    let asked = loop {
        tokio::select! {
            _ = seconds.tick() => {
                let passed = last.elapsed();
                last = Instant::now();
                if handle.ask(move |director| director.tick(passed)).await.is_err() {
                    break None;
                }
                notifier.watchdog();
                if place.is_lost() {
                    listen_again(&mut place, &mut servers, &context, &ended);
                }
            }
            _ = hangup.recv() => reload(&handle, &notifier).await,
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            Some(stop) = stops.recv() => break stop.forwarding,
        }
    };
    notifier.stopping();
    tracing::info!("stopping");
    let configured = handle
        .ask(|director| director.settings().forwarding_on_stop)
        .await;
    // Whoever follows events would stay for ever.
    end.send_replace(true);
    let farewell = async { while servers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    servers.abort_all();
    handle.end().await;
    let joined = tokio::task::spawn_blocking(|| thread.join()).await?;
    let Ok(forwarding) = joined else {
        bail!("the director's thread broke down; forwarding goes on");
    };
    let stop = match (asked, configured) {
        (Some(wire::Forwarding::Stop), _) => true,
        (Some(wire::Forwarding::Keep), _) => false,
        (None, Ok(ForwardingOnStop::Stop)) => true,
        (None, Ok(ForwardingOnStop::Keep) | Err(_)) => false,
    };
    if stop {
        tokio::task::spawn_blocking(|| forwarding.detach())
            .await?
            .context("forwarding may go on")?;
        tracing::info!("stopped; nothing is forwarded");
    } else {
        tracing::info!("stopped; forwarding goes on");
    }
    Ok(())
}

/// Somebody removed the socket's file: takes its place again.
fn listen_again(
    place: &mut Place,
    servers: &mut JoinSet<std::io::Result<()>>,
    context: &api::Context,
    ended: &watch::Receiver<bool>,
) {
    match place.bind() {
        Ok(listener) => {
            tracing::warn!("the socket's file was gone; listening again");
            servers.spawn(api::serve(listener, context.clone(), ended.clone()));
        }
        Err(error) => tracing::warn!("{error}"),
    }
}

async fn reload(handle: &Handle, notifier: &Notifier) {
    notifier.reloading();
    match handle.ask(|director| director.reload()).await {
        Ok(Ok(changes)) => tracing::info!("reloaded, changes: {changes}"),
        Ok(Err(error)) => tracing::error!("not reloaded, nothing changed: {error}"),
        // The next tick sees it too, and ends the daemon.
        Err(gone) => tracing::error!("not reloaded: {gone}"),
    }
    notifier.ready();
}

fn source(args: cli::Run, selection: &Selection) -> Source {
    let own = |name: &Name| PathBuf::from(format!("/etc/rvs/{name}.toml"));
    let optional = args.config.is_none();
    let file = args.config.unwrap_or_else(|| {
        selection
            .instance
            .as_ref()
            .map(own)
            .filter(|file| file.exists())
            .unwrap_or_else(|| PathBuf::from("/etc/rvs/rvs.toml"))
    });
    Source {
        file,
        optional,
        instance: selection.instance.clone(),
        interfaces: args.interfaces,
        socket: selection.socket.clone(),
    }
}

/// A line that cannot be written (a full disk, a pipe without a reader, a closed terminal) is lost. `log_internal_errors` would
/// report it by `eprintln!`, which panics where stderr is what fails.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RVS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .init();
}

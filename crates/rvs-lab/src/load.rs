//! Many short connections: a given number of them, or for as long as a test lasts.

use crate::client::get;
use crate::error::{LabError, Result};
use crate::host::Host;
use crate::lab::lock;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What every request asks for: the name of the real server.
const PATH: &str = "/id";

/// How the requests of a load went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadReport {
    /// Requests answered.
    pub done: u64,
    /// Requests not answered, or not as they should be.
    pub failed: u64,
    /// What happened to the first of those.
    pub first_error: Option<String>,
    /// Answered requests by the name of the real server.
    pub by_server: BTreeMap<String, u64>,
    /// How long the load lasted.
    pub seconds: f64,
}

impl LoadReport {
    /// An error, with counts and the first failure, unless requests were answered and none failed.
    pub fn expect_none_failed(&self) -> Result<()> {
        if self.failed == 0 && self.done > 0 {
            return Ok(());
        }
        let first = self.first_error.as_deref().unwrap_or("no request was made");
        Err(LabError::Answer {
            place: "load".to_owned(),
            what: format!(
                "{} of {} requests failed, the first: {first}",
                self.failed,
                self.done + self.failed
            ),
        })
    }
}

/// Requests in the background until [`Load::stop`]: each is `GET /id` over a connection of its
/// own, `concurrency` at a time, as fast as they go.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    start: Instant,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    stopped: AtomicBool,
    started: AtomicU64,
    limit: u64,
    /// From one request of a worker to its next.
    interval: Duration,
    report: Mutex<LoadReport>,
}

impl Load {
    /// Starts requests from a host to an address; there are no more than `concurrency` at a time.
    pub fn start(client: &Host, address: SocketAddr, concurrency: usize) -> Result<Self> {
        Self::start_limited(client, address, concurrency, u64::MAX, Duration::ZERO)
    }

    /// Like [`Load::start`], at most `rate` requests in a second.
    pub fn start_paced(
        client: &Host,
        address: SocketAddr,
        concurrency: usize,
        rate: u32,
    ) -> Result<Self> {
        let workers = u32::try_from(concurrency.max(1)).unwrap_or(u32::MAX);
        let interval = Duration::from_secs(1) * workers / rate.max(1);
        Self::start_limited(client, address, concurrency, u64::MAX, interval)
    }

    fn start_limited(
        client: &Host,
        address: SocketAddr,
        concurrency: usize,
        limit: u64,
        interval: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            address,
            stopped: AtomicBool::new(false),
            started: AtomicU64::new(0),
            limit,
            interval,
            report: Mutex::default(),
        });
        let mut load = Self {
            shared: Arc::clone(&shared),
            workers: Vec::new(),
            start: Instant::now(),
        };
        let (entered, answers) = mpsc::channel();
        for _ in 0..concurrency.max(1) {
            let (client, shared, entered) = (client.clone(), Arc::clone(&shared), entered.clone());
            load.workers.push(std::thread::spawn(move || {
                let result = client.enter();
                let is_ready = result.is_ok();
                drop(entered.send(result));
                // The starter waits for the last sender to go.
                drop(entered);
                if is_ready {
                    work(&shared);
                }
            }));
        }
        drop(entered);
        answers.into_iter().collect::<Result<()>>()?;
        Ok(load)
    }

    /// How many requests were answered so far.
    pub fn done(&self) -> u64 {
        lock(&self.shared.report).done
    }

    /// How it went so far.
    pub fn so_far(&self) -> LoadReport {
        let mut report = lock(&self.shared.report).clone();
        report.seconds = self.start.elapsed().as_secs_f64();
        report
    }

    /// Waits until `more` further requests were answered: the load has seen what a test did.
    pub fn wait_for_more(&self, more: u64, timeout: Duration) -> Result<()> {
        let goal = self.done().saturating_add(more);
        crate::wait_until(
            &format!("{more} more answers from {}", self.shared.address),
            timeout,
            || self.done() >= goal,
        )
    }

    /// Lets running requests end, and reports.
    pub fn stop(mut self) -> LoadReport {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.join();
        self.so_far()
    }

    fn join(&mut self) {
        for worker in self.workers.drain(..) {
            drop(worker.join());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.join();
    }
}

impl Host {
    /// Makes `requests` requests as [`Load`] does, and reports when all are done.
    pub fn get_many(
        &self,
        address: SocketAddr,
        requests: u64,
        concurrency: usize,
    ) -> Result<LoadReport> {
        let mut load = Load::start_limited(self, address, concurrency, requests, Duration::ZERO)?;
        load.join();
        Ok(load.so_far())
    }
}

fn work(shared: &Shared) {
    while !shared.stopped.load(Ordering::SeqCst)
        && shared.started.fetch_add(1, Ordering::SeqCst) < shared.limit
    {
        let start = Instant::now();
        let result = get(shared.address, PATH);
        let mut report = lock(&shared.report);
        match result {
            Ok(body) => {
                report.done += 1;
                *report
                    .by_server
                    .entry(body.trim_end().to_owned())
                    .or_default() += 1;
            }
            Err(error) => {
                report.failed += 1;
                let error = format!("{} after {:?}: {error}", shared.address, start.elapsed());
                report.first_error.get_or_insert(error);
                drop(report);
                // Refusals come at once; a service that is down is not to be stormed.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        std::thread::sleep(shared.interval.saturating_sub(start.elapsed()));
    }
}

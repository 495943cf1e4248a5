//! A running director: the data plane, what the configuration wants of it, and the requests that change it.
//!
//! It neither waits nor listens: whoever owns it calls it, one request at a time (see `actor`). A request that is
//! refused changes nothing. What is asked for here lasts until the configuration says otherwise: a reload restores what
//! the file says of the services and servers in it, and keeps all others that were added at run time.

mod error;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use rvs_config::{
    Compat, Config, Knobs, Persistence, PersistenceTimeout, Server, Service, ServiceError,
    ServiceKey, ServiceOptions, Services, Timeouts, Weight,
};

pub use error::RequestError;

use crate::events::{Events, What, seconds};
use crate::forwarding::{
    Adoption, Connection, Forwarding, Hop, Origin, ServerState, ServiceState, Stats,
};
use crate::rates::{Estimator, Subject};
use crate::reconcile::{Change, reconcile};
use crate::source::Source;
use crate::wire;

/// A director with its data plane.
pub struct Director {
    forwarding: Box<dyn Forwarding>,
    settings: rvs_config::Director,
    /// What the configuration wants.
    intent: Services,
    source: Source,
    adoption: Adoption,
    started: SystemTime,
    loaded: SystemTime,
    now: SystemTime,
    rates: Estimator,
    events: Events,
    defences: wire::Defences,
    /// The servers' addresses whose ways were asked for.
    asked: BTreeSet<IpAddr>,
    /// Those that came since, with servers.
    unasked: BTreeSet<IpAddr>,
}

impl Director {
    /// Takes over a data plane and makes it do what the configuration says.
    pub fn start(
        forwarding: Box<dyn Forwarding>,
        adoption: Adoption,
        config: Config,
        source: Source,
        now: SystemTime,
    ) -> Result<Director, RequestError> {
        let mut director = Director {
            forwarding,
            settings: config.director,
            intent: Services::new(),
            source,
            adoption,
            started: now,
            loaded: now,
            now,
            rates: Estimator::new(&[], Stats::default()),
            events: Events::new(),
            defences: wire::Defences::default(),
            asked: BTreeSet::new(),
            unasked: BTreeSet::new(),
        };
        let adoption = adoption.into();
        director.note(What::Started { adoption });
        let plan = reconcile(&config.services, &director.forwarding.services());
        if let Err(error) = director.carry_out(&plan) {
            // What was not there before is taken away again; a director that was there goes on as it was.
            match director.adoption {
                Adoption::Fresh => {
                    if let Err(error) = director.forwarding.detach() {
                        tracing::error!("{error}, after a start that failed");
                    }
                }
                Adoption::Adopted | Adoption::Upgraded { .. } => {}
            }
            return Err(error);
        }
        // Who hears that the director is ready may rely on all of it.
        director.forwarding.publish_all();
        director.take_over(config.services);
        let forwarding = &director.forwarding;
        director.rates = Estimator::new(&forwarding.services(), forwarding.totals().counted);
        director.estimate();
        Ok(director)
    }

    /// Tells it what time it is; done before every request.
    pub fn set_now(&mut self, now: SystemTime) {
        self.now = now;
    }

    /// Does what is due, `passed` after the last time.
    pub fn tick(&mut self, passed: Duration) {
        let tick = self.forwarding.tick();
        tracing::trace!(?tick, "tick");
        let defences = tick.defences.into();
        if self.defences != defences {
            self.defences = defences;
            self.note(What::DefencesChanged { defences });
        }
        if self.rates.is_due(passed) {
            let services = self.forwarding.services();
            let whole = self.forwarding.totals().counted;
            self.rates.observe(&services, whole);
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &rvs_config::Director {
        &self.settings
    }

    /// What happened.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// How it is.
    pub fn status(&self) -> wire::Status {
        let services = self.services();
        let sum = |count: fn(&wire::Service) -> u64| services.iter().map(count).sum();
        let totals = self.forwarding.totals();
        wire::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.settings.instance.to_string(),
            pid: std::process::id(),
            started: seconds(self.started),
            loaded: seconds(self.loaded),
            config: Some(self.source.file.clone()).filter(|file| !file.as_os_str().is_empty()),
            socket: self.settings.socket.clone(),
            adoption: self.adoption.into(),
            scheduling: self.forwarding.scheduling(),
            forwarding_on_stop: self.settings.forwarding_on_stop.name().to_owned(),
            services: services.len(),
            servers: services
                .iter()
                .flat_map(|service| &service.servers)
                .filter(|server| !server.removed)
                .count(),
            active: sum(|service| service.active),
            inactive: sum(|service| service.inactive),
            table: self.forwarding.table().into(),
            interfaces: self.interfaces(),
            timeouts: self.settings.timeouts,
            knobs: self.settings.knobs,
            defences: self.defences,
            stats: totals.shown.into(),
            counted: totals.counted.into(),
            rates: self.rates.rates(Subject::Whole),
        }
    }

    /// All services in the order in which they were added.
    pub fn services(&self) -> Vec<wire::Service> {
        self.forwarding
            .services()
            .into_iter()
            .map(|state| self.described(state))
            .collect()
    }

    /// One service.
    pub fn service(&self, key: ServiceKey) -> Result<wire::Service, RequestError> {
        Ok(self.described(self.state(key)?))
    }

    /// Where the traffic is taken from.
    pub fn interfaces(&self) -> Vec<wire::Interface> {
        self.forwarding
            .interfaces()
            .into_iter()
            .map(wire::Interface::from)
            .collect()
    }

    /// How full the tables are.
    pub fn table(&self) -> wire::Table {
        self.forwarding.table().into()
    }

    /// Every counter.
    pub fn counters(&self) -> Vec<(rvs_abi::Counter, u64)> {
        self.forwarding.counters()
    }

    /// How many connections there are, or a service has, and the first `limit` of them.
    pub fn connections(&self, of: Option<ServiceKey>, limit: usize) -> (u64, Vec<Connection>) {
        let (mut total, mut connections) = (0, Vec::new());
        self.forwarding.for_each_connection(&mut |connection| {
            let asked_for = of.is_none_or(|key| connection.key == Some(key));
            if asked_for {
                total += 1;
                if connections.len() < limit {
                    connections.push(connection);
                }
            }
            true
        });
        (total, connections)
    }

    /// A service's connections, or all, of a slice of the tables, which begins at `place` (0 for the first), and where
    /// the next begins.
    pub fn connections_of_slice(
        &self,
        of: Option<ServiceKey>,
        place: u64,
    ) -> (Vec<Connection>, Option<u64>) {
        let mut connections = Vec::new();
        let next = self.forwarding.for_slice(place, &mut |connection| {
            if of.is_none_or(|key| connection.key == Some(key)) {
                connections.push(connection);
            }
        });
        (connections, next)
    }

    /// The servers' addresses, to which ways must be known.
    pub fn server_addresses(&self) -> Vec<IpAddr> {
        self.forwarding.server_addresses()
    }

    /// Takes in the ways to all servers.
    pub fn apply_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]) {
        self.asked.clear();
        self.add_hops(hops);
    }

    /// Takes in the ways to some servers.
    pub fn add_hops(&mut self, hops: &[(IpAddr, Option<Hop>)]) {
        self.asked.extend(hops.iter().map(|(address, _)| *address));
        self.forwarding.apply_hops(hops);
    }

    /// The addresses of servers that were added since this was asked last and to which no way was looked for.
    pub fn take_new_addresses(&mut self) -> Vec<IpAddr> {
        let mut addresses = std::mem::take(&mut self.unasked);
        addresses.retain(|address| !self.asked.contains(address));
        addresses.into_iter().collect()
    }

    /// The timeouts that hold.
    pub fn timeouts(&self) -> Timeouts {
        self.settings.timeouts
    }

    /// Adds a service with its servers.
    pub fn add_service(&mut self, service: Service) -> Result<wire::Service, RequestError> {
        if let Some(name) = service.name() {
            self.name_is_free(name, service.key())?;
        }
        let key = service.key();
        self.do_one(Change::AddService {
            service,
            origin: Origin::Runtime,
        })?;
        self.service(key)
    }

    /// Lets a service treat its clients otherwise.
    pub fn set_service(
        &mut self,
        key: ServiceKey,
        change: wire::ServiceChange,
    ) -> Result<wire::Service, RequestError> {
        let known = self.options(key)?;
        let wanted = change.apply(&known).map_err(RequestError::Options)?;
        let options = Service::new(key, wanted)?.options().clone();
        if options != known {
            self.do_one(Change::SetOptions { key, options })?;
        }
        self.service(key)
    }

    /// Removes a service.
    pub fn remove_service(&mut self, key: ServiceKey) -> Result<(), RequestError> {
        self.do_one(Change::RemoveService { key })
    }

    /// Removes all services. Returns how many there were.
    pub fn clear(&mut self) -> Result<usize, RequestError> {
        let plan: Vec<Change> = self
            .forwarding
            .services()
            .iter()
            .map(|state| Change::RemoveService { key: state.key })
            .collect();
        self.carry_out(&plan)
    }

    /// Adds a server to a service.
    pub fn add_server(
        &mut self,
        key: ServiceKey,
        server: Server,
    ) -> Result<wire::Server, RequestError> {
        self.options(key)?;
        fits(key, server)?;
        self.do_one(Change::AddServer {
            key,
            server,
            origin: Origin::Runtime,
        })?;
        self.server(key, server.socket_addr())
    }

    /// Changes a server's weight, method, tunnel or thresholds.
    pub fn set_server(
        &mut self,
        key: ServiceKey,
        address: SocketAddr,
        change: wire::ServerChange,
    ) -> Result<wire::Server, RequestError> {
        let known = self.server_state(key, address)?.server;
        let server = change.apply(known).map_err(ServiceError::from)?;
        fits(key, server)?;
        if server != known {
            self.do_one(Change::SetServer { key, server })?;
        }
        self.server(key, address)
    }

    /// Gives a server no new connections; those it has go on.
    pub fn drain(
        &mut self,
        key: ServiceKey,
        address: SocketAddr,
    ) -> Result<wire::Server, RequestError> {
        let change = wire::ServerChange {
            weight: Some(Weight::ZERO),
            ..wire::ServerChange::default()
        };
        self.set_server(key, address, change)
    }

    /// Removes a server from a service.
    pub fn remove_server(
        &mut self,
        key: ServiceKey,
        server: SocketAddr,
    ) -> Result<(), RequestError> {
        self.do_one(Change::RemoveServer { key, server })
    }

    /// Zeroes the statistics of a service or of everything.
    pub fn zero(&mut self, key: Option<ServiceKey>) -> Result<(), RequestError> {
        self.forwarding.zero(key.as_ref())?;
        let services = self.forwarding.services();
        let whole = self.forwarding.totals().counted;
        self.rates.zero(key, &services, whole);
        self.note(What::Zeroed { service: key });
        Ok(())
    }

    /// Changes timeouts until the next reload. Null restores a default.
    pub fn change_timeouts(&mut self, change: serde_json::Value) -> Result<Timeouts, RequestError> {
        let defaults = Timeouts::defaults(self.settings.compat);
        let timeouts = wire::patched(&self.settings.timeouts, &defaults, change)
            .map_err(RequestError::Options)?;
        self.set_timeouts(timeouts);
        Ok(timeouts)
    }

    fn set_timeouts(&mut self, timeouts: Timeouts) {
        if self.settings.timeouts != timeouts {
            self.forwarding.set_timeouts(&timeouts);
            self.settings.timeouts = timeouts;
            self.note(What::TimeoutsChanged);
        }
    }

    /// The knobs as they are turned.
    pub fn knobs(&self) -> Knobs {
        self.settings.knobs
    }

    /// Turns some knobs until the next reload. Null restores a default.
    pub fn set_knobs(&mut self, change: serde_json::Value) -> Result<Knobs, RequestError> {
        let defaults = Knobs::defaults(self.settings.compat);
        let knobs = wire::patched(&self.settings.knobs, &defaults, change)
            .map_err(RequestError::Options)?;
        self.turn(knobs, self.settings.compat);
        Ok(knobs)
    }

    fn turn(&mut self, knobs: Knobs, compat: Option<Compat>) {
        if (self.settings.knobs, self.settings.compat) == (knobs, compat) {
            return;
        }
        self.forwarding.set_knobs(&knobs, compat);
        self.settings.knobs = knobs;
        self.settings.compat = compat;
        self.estimate();
        self.note(What::KnobsChanged);
    }

    /// Estimates rates, or does not, as the knob says.
    fn estimate(&mut self) {
        if self.settings.knobs.run_estimation {
            let services = self.forwarding.services();
            self.rates
                .start(&services, self.forwarding.totals().counted);
        } else {
            self.rates.stop();
        }
    }

    /// Whether it takes new connections.
    pub fn set_scheduling(&mut self, on: bool) {
        if self.forwarding.scheduling() != on {
            self.forwarding.set_scheduling(on);
            self.note(What::SchedulingChanged { on });
        }
    }

    /// Reads the configuration again and does what it says. If anything is wrong, nothing changes.
    pub fn reload(&mut self) -> Result<usize, RequestError> {
        let result = self.try_reload();
        self.note(match &result {
            Ok(changes) => What::Reloaded { changes: *changes },
            Err(error) => What::ReloadRefused {
                error: error.to_string(),
            },
        });
        result
    }

    /// Lets the packets see the changes that are due. Returns after how long more will be.
    pub fn publish_due(&mut self) -> Option<Duration> {
        self.forwarding.publish_due()
    }

    /// Ends the director and hands back the data plane.
    pub fn into_forwarding(mut self) -> Box<dyn Forwarding> {
        self.forwarding.publish_all();
        self.forwarding
    }

    fn try_reload(&mut self) -> Result<usize, RequestError> {
        let config = self.source.load()?;
        if let Some(setting) = fixed_setting(&self.settings, &config.director) {
            return Err(RequestError::NeedsRestart { setting });
        }
        let actual = self.forwarding.services();
        self.names_are_free(&config.services, &actual)?;
        let changes = self.carry_out(&reconcile(&config.services, &actual))?;
        self.forwarding.publish_all();
        self.set_timeouts(config.director.timeouts);
        self.turn(config.director.knobs, config.director.compat);
        self.settings = config.director;
        self.take_over(config.services);
        self.loaded = self.now;
        Ok(changes)
    }

    fn do_one(&mut self, change: Change) -> Result<(), RequestError> {
        self.carry_out(&[change]).map(|_| ())
    }

    /// Does all of it, or undoes what was done.
    fn carry_out(&mut self, plan: &[Change]) -> Result<usize, RequestError> {
        let before = match plan {
            [] => return Ok(0),
            // A single step is undone by the data plane itself.
            [_] => Vec::new(),
            [_, _, ..] => self.forwarding.services(),
        };
        for (index, change) in plan.iter().enumerate() {
            let Err(error) = change.apply(self.forwarding.as_mut()) else {
                continue;
            };
            let done = plan.get(..index).unwrap_or_default();
            for undo in done.iter().rev().flat_map(|change| change.undo(&before)) {
                if let Err(error) = undo.apply(self.forwarding.as_mut()) {
                    tracing::error!("{error}, while undoing a change that failed");
                }
            }
            return Err(error.into());
        }
        for what in plan.iter().flat_map(What::of) {
            self.note(what);
        }
        self.unasked
            .extend(plan.iter().flat_map(Change::new_addresses));
        Ok(plan.len())
    }

    fn note(&mut self, what: What) {
        match serde_json::to_string(&what) {
            Ok(text) => tracing::debug!("{text}"),
            Err(error) => tracing::debug!("{what:?}: {error}"),
        }
        self.events.note(self.now, what);
    }

    fn state(&self, key: ServiceKey) -> Result<ServiceState, RequestError> {
        self.forwarding
            .service(&key)
            .ok_or(RequestError::NoSuchService(key))
    }

    fn options(&self, key: ServiceKey) -> Result<ServiceOptions, RequestError> {
        self.forwarding
            .options(&key)
            .ok_or(RequestError::NoSuchService(key))
    }

    fn server_state(
        &self,
        key: ServiceKey,
        server: SocketAddr,
    ) -> Result<ServerState, RequestError> {
        self.options(key)?;
        self.forwarding
            .server(&key, server)
            .ok_or(RequestError::NoSuchServer {
                service: key,
                server,
            })
    }

    fn server(&self, key: ServiceKey, server: SocketAddr) -> Result<wire::Server, RequestError> {
        let state = self.server_state(key, server)?;
        Ok(wire::Server::of(key, state, &self.rates))
    }

    fn described(&self, state: ServiceState) -> wire::Service {
        wire::Service::of(state, &self.rates)
    }

    /// Calls the services as the configuration does, also those that were there already.
    fn take_over(&mut self, services: Services) {
        for service in &services {
            self.forwarding.set_name(&service.key(), service.name());
        }
        self.intent = services;
    }

    fn name_is_free(&self, name: &str, key: ServiceKey) -> Result<(), RequestError> {
        match self.forwarding.named(name) {
            Some(holder) if holder != key => Err(RequestError::NameTaken {
                name: name.to_owned(),
                holder,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether no name of the new configuration belongs to a service that stays and is not in it.
    fn names_are_free(
        &self,
        wanted: &Services,
        actual: &[ServiceState],
    ) -> Result<(), RequestError> {
        let stays = |state: &&ServiceState| {
            state.origin == Origin::Runtime && wanted.get(state.key).is_none()
        };
        let names: BTreeMap<&str, ServiceKey> = actual
            .iter()
            .filter(stays)
            .filter_map(|state| Some((state.name.as_deref()?, state.key)))
            .collect();
        for name in wanted.iter().filter_map(Service::name) {
            if let Some(holder) = names.get(name) {
                return Err(RequestError::NameTaken {
                    name: name.to_owned(),
                    holder: *holder,
                });
            }
        }
        Ok(())
    }
}

/// Whether this could be a server of this service.
fn fits(key: ServiceKey, server: Server) -> Result<(), RequestError> {
    let options = ServiceOptions {
        // Servers fit keys; every key takes these options.
        persistence: Some(Persistence::new(PersistenceTimeout::default())),
        ..ServiceOptions::default()
    };
    Service::new(key, options)?.with_servers([server])?;
    Ok(())
}

/// The first setting that differs and cannot be changed while the director runs.
fn fixed_setting(old: &rvs_config::Director, new: &rvs_config::Director) -> Option<&'static str> {
    [
        ("instance", old.instance == new.instance),
        ("interfaces", old.interfaces == new.interfaces),
        ("attach", old.attach == new.attach),
        ("connections", old.connections == new.connections),
        ("connections_v6", old.connections_v6 == new.connections_v6),
        ("local_clients", old.local_clients == new.local_clients),
        ("socket", old.socket == new.socket),
        ("bpffs", old.bpffs == new.bpffs),
    ]
    .into_iter()
    .find(|(_, same)| !same)
    .map(|(setting, _)| setting)
}

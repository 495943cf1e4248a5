//! What the API says and reads: the JSON documents, for the server and for its clients alike.

use std::net::SocketAddr;
use std::path::PathBuf;

use rvs_config::{
    Knobs, Method, Protocol, ServerError, ServiceKey, ServiceOptions, Thresholds, Timeouts, Tunnel,
    Weight,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::forwarding;
use crate::rates::{Estimator, Rates, Subject};

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Status {
    pub version: String,
    pub instance: String,
    pub pid: u32,
    /// Seconds since 1970.
    pub started: u64,
    /// When the configuration was last taken over, in seconds since 1970.
    pub loaded: u64,
    pub config: Option<PathBuf>,
    pub socket: PathBuf,
    pub adoption: Adoption,
    /// Whether new connections are taken.
    pub scheduling: bool,
    pub forwarding_on_stop: String,
    pub services: usize,
    pub servers: usize,
    pub active: u64,
    pub inactive: u64,
    pub table: Table,
    pub interfaces: Vec<Interface>,
    pub timeouts: Timeouts,
    pub knobs: Knobs,
    #[serde(default)]
    pub defences: Defences,
    /// Over all services, also removed ones.
    pub stats: Stats,
    pub counted: Stats,
    pub rates: Rates,
}

/// Which of IPVS's three defences are in force at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defences {
    /// Connections that say little for themselves end before their time.
    pub drop_entry: bool,
    /// `drop_packet`: one new connection in so many is dropped; 0 is none.
    pub drop_rate: u32,
    /// The server's word counts before the client's.
    pub secure_tcp: bool,
}

impl From<rvs_dataplane::Defences> for Defences {
    fn from(now: rvs_dataplane::Defences) -> Self {
        Defences {
            drop_entry: now.drop_entry,
            drop_rate: now.drop_rate,
            secure_tcp: now.secure_tcp,
        }
    }
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "adoption", rename_all = "snake_case")]
pub enum Adoption {
    /// Nothing.
    Fresh,
    /// A director that goes on as it was.
    Adopted,
    /// A director of another layout.
    Upgraded {
        /// Connections copied.
        connections: u64,
        /// Connections that found no room.
        refused: u64,
    },
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Table {
    pub slots_v4: u64,
    pub used_v4: u64,
    pub slots_v6: u64,
    pub used_v6: u64,
    pub refused: u64,
}

/// Whether packets see all changes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Published {
    /// False where other changes keep coming.
    pub complete: bool,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Interface {
    pub name: String,
    pub ifindex: u32,
    pub tc: String,
    pub xdp: bool,
}

/// Who asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file.
    Configured,
    /// Somebody, while the director ran.
    Runtime,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Service {
    pub address: ServiceKey,
    pub name: Option<String>,
    /// Its fields are the document's.
    #[serde(flatten)]
    pub options: ServiceOptions,
    pub origin: Origin,
    pub active: u64,
    pub inactive: u64,
    pub stats: Stats,
    pub counted: Stats,
    pub rates: Rates,
    /// Newest first.
    pub servers: Vec<Server>,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Server {
    pub address: SocketAddr,
    pub method: Method,
    pub tunnel: Tunnel,
    pub weight: Weight,
    pub upper_threshold: u32,
    pub lower_threshold: u32,
    pub origin: Origin,
    /// Whether the address is the director's own, so that packets are delivered instead of forwarded.
    pub local: bool,
    /// Whether it was removed, and only its last connections go on.
    pub removed: bool,
    pub next_hop: Option<String>,
    pub active: u32,
    pub inactive: u32,
    /// Persistence templates.
    pub persistent: u32,
    pub stats: Stats,
    pub counted: Stats,
    pub rates: Rates,
}

/// What happened: `stats` since it was last zeroed, `counted` ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Stats {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// `GET /v1/connections`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How many there are (of the service, if one was asked for).
    pub total: u64,
    /// As many of them as were asked for.
    pub connections: Vec<Connection>,
}

/// One connection, also a line of `GET /v1/connections?format=ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Connection {
    pub protocol: Protocol,
    pub client: SocketAddr,
    pub service: SocketAddr,
    pub server: SocketAddr,
    /// LVS's name of the state.
    pub state: String,
    /// Seconds until it is forgotten, if nothing more comes.
    pub expires: u64,
    pub active: bool,
    pub packets: u32,
    /// Whether it is a persistence template.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// The firewall mark that a template is of, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
    /// The Call-ID that a template of the persistence engine `sip` is of, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

/// A counter of the director's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub struct Counter {
    pub name: String,
    /// `pass`, `drop`, `answer` or `note`.
    pub verdict: String,
    pub help: String,
    pub value: u64,
}

/// `PUT` or `PATCH` of `/v1/services/{protocol}/{address}`: a merge patch (RFC 7396) of the service's options. What is
/// left out stays; null restores the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceChange(pub Map<String, Value>);

impl ServiceChange {
    /// The change that gives a service these fields of the options.
    pub fn of(options: &ServiceOptions, fields: &[&str]) -> ServiceChange {
        let Ok(Value::Object(mut all)) = serde_json::to_value(options) else {
            return ServiceChange::default();
        };
        all.retain(|field, _| fields.contains(&field.as_str()));
        ServiceChange(all)
    }

    /// The options after the change. A new scheduler begins without flags, unless the change names some. Taking a part
    /// of persistence away from a service that has none changes nothing.
    pub fn apply(mut self, options: &ServiceOptions) -> Result<ServiceOptions, serde_json::Error> {
        let only_takes_away = |change: &Value| {
            change
                .as_object()
                .is_some_and(|fields| !fields.is_empty() && fields.values().all(Value::is_null))
        };
        if options.persistence.is_none() && self.0.get("persistence").is_some_and(only_takes_away) {
            self.0.remove("persistence");
        }
        let mut document = serde_json::to_value(options)?;
        let scheduler = document.get("scheduler").cloned();
        let names_flags = self.0.contains_key("scheduler_flags");
        merge(&mut document, Value::Object(self.0));
        if !names_flags
            && document.get("scheduler") != scheduler.as_ref()
            && let Some(fields) = document.as_object_mut()
        {
            fields.remove("scheduler_flags");
        }
        read(document)
    }
}

/// A merge patch (RFC 7396): null takes away, objects are merged, all else replaces.
pub fn merge(document: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *document = patch;
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Some(fields) = document.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// The document after the change, where null restores what `defaults` says.
pub fn patched<T: Serialize + serde::de::DeserializeOwned>(
    document: &T,
    defaults: &T,
    mut change: Value,
) -> Result<T, serde_json::Error> {
    fill(&mut change, &serde_json::to_value(defaults)?);
    let mut document = serde_json::to_value(document)?;
    merge(&mut document, change);
    read(document)
}

/// What the document says; an error names the field that is wrong.
fn read<T: serde::de::DeserializeOwned>(document: Value) -> Result<T, serde_json::Error> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            // The whole.
            "." => error.into_inner(),
            path => serde::de::Error::custom(format_args!("{path}: {}", error.inner())),
        }
    })
}

/// Puts the defaults in the place of nulls.
fn fill(change: &mut Value, defaults: &Value) {
    if change.is_null() {
        change.clone_from(defaults);
    } else if let (Some(fields), Some(defaults)) = (change.as_object_mut(), defaults.as_object()) {
        for (name, value) in fields {
            if let Some(default) = defaults.get(name) {
                fill(value, default);
            }
        }
    }
}

/// `PUT` or `PATCH` of `.../servers/{server}`: what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerChange {
    /// The new weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// The new forwarding method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The new kind of tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// The new upper threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper_threshold: Option<u32>,
    /// The new lower threshold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_threshold: Option<u32>,
}

impl ServerChange {
    /// The change that makes any server of the same address and port this one.
    pub fn to(server: &rvs_config::Server) -> ServerChange {
        ServerChange {
            weight: Some(server.weight()),
            method: Some(server.method()),
            tunnel: (server.method() == Method::Tunnel).then(|| server.tunnel()),
            upper_threshold: Some(server.thresholds().upper()),
            lower_threshold: Some(server.thresholds().lower()),
        }
    }

    /// The server after the change.
    pub fn apply(self, server: rvs_config::Server) -> Result<rvs_config::Server, ServerError> {
        let known = server.thresholds();
        let thresholds = Thresholds::new(
            self.upper_threshold.unwrap_or(known.upper()).into(),
            self.lower_threshold.unwrap_or(known.lower()).into(),
        )?;
        let server = server
            .with_weight(self.weight.unwrap_or(server.weight()))
            .with_method(self.method.unwrap_or(server.method()))
            .with_thresholds(thresholds);
        match self.tunnel {
            Some(tunnel) => server.with_tunnel(tunnel),
            None => Ok(server),
        }
    }
}

/// `PUT /v1/scheduling`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduling {
    /// Whether new connections are taken.
    pub on: bool,
}

/// `POST /v1/stop`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What becomes of the traffic; the configuration's word if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Forwarding>,
}

/// What becomes of the traffic of a director that stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarding {
    /// It goes on.
    Keep,
    /// It ends.
    Stop,
}

/// The answer to a request that changed something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many changes were made.
    pub changes: usize,
}

/// The answer to a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One line for people.
    pub error: String,
    /// One word for programs.
    pub code: Code,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Code {
    Invalid,
    TooLarge,
    NoSuchPath,
    WrongMethod,
    NoSuchService,
    NoSuchServer,
    ServiceExists,
    ServerExists,
    NoRoom,
    BadConfiguration,
    Kernel,
    Stopping,
}

impl From<forwarding::Adoption> for Adoption {
    fn from(adoption: forwarding::Adoption) -> Self {
        match adoption {
            forwarding::Adoption::Fresh => Adoption::Fresh,
            forwarding::Adoption::Adopted => Adoption::Adopted,
            forwarding::Adoption::Upgraded {
                connections,
                refused,
            } => Adoption::Upgraded {
                connections,
                refused,
            },
        }
    }
}

impl From<forwarding::Origin> for Origin {
    fn from(origin: forwarding::Origin) -> Self {
        match origin {
            forwarding::Origin::Configured => Origin::Configured,
            forwarding::Origin::Runtime => Origin::Runtime,
        }
    }
}

impl From<forwarding::Stats> for Stats {
    fn from(stats: forwarding::Stats) -> Self {
        Stats {
            connections: stats.connections,
            packets_in: stats.packets_in,
            packets_out: stats.packets_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
        }
    }
}

impl From<forwarding::TableState> for Table {
    fn from(table: forwarding::TableState) -> Self {
        Table {
            slots_v4: table.slots4,
            used_v4: table.used4,
            slots_v6: table.slots6,
            used_v6: table.used6,
            refused: table.refused,
        }
    }
}

impl From<forwarding::InterfaceState> for Interface {
    fn from(interface: forwarding::InterfaceState) -> Self {
        Interface {
            name: interface.name,
            ifindex: interface.ifindex,
            tc: interface.tc.to_owned(),
            xdp: interface.xdp,
        }
    }
}

impl From<&forwarding::Connection> for Connection {
    fn from(connection: &forwarding::Connection) -> Self {
        Connection {
            protocol: connection.protocol,
            client: connection.client,
            service: connection.service,
            server: connection.server,
            state: connection.state.to_owned(),
            expires: connection.expires.as_secs(),
            active: connection.active,
            packets: connection.packets,
            template: connection.template,
            mark: (connection.mark != 0).then_some(connection.mark),
            call: connection.call.clone(),
        }
    }
}

impl From<(rvs_abi::Counter, u64)> for Counter {
    fn from((counter, value): (rvs_abi::Counter, u64)) -> Self {
        let verdict = match counter.verdict() {
            rvs_abi::Verdict::Pass => "pass",
            rvs_abi::Verdict::Drop => "drop",
            rvs_abi::Verdict::Answer => "answer",
            rvs_abi::Verdict::Note => "note",
        };
        Counter {
            name: counter.name().to_owned(),
            verdict: verdict.to_owned(),
            help: counter.help().to_owned(),
            value,
        }
    }
}

impl Service {
    /// A service as it is, with its rates.
    pub fn of(state: forwarding::ServiceState, rates: &Estimator) -> Service {
        let key = state.key;
        let servers: Vec<Server> = state
            .servers
            .into_iter()
            .map(|server| Server::of(key, server, rates))
            .collect();
        Service {
            address: key,
            name: state.name,
            options: state.options,
            origin: state.origin.into(),
            active: servers.iter().map(|server| u64::from(server.active)).sum(),
            inactive: servers
                .iter()
                .map(|server| u64::from(server.inactive))
                .sum(),
            stats: state.stats.into(),
            counted: state.counted.into(),
            rates: rates.rates(Subject::Service(key)),
            servers,
        }
    }
}

impl Server {
    /// A server of a service as it is, with its rates.
    pub fn of(service: ServiceKey, state: forwarding::ServerState, rates: &Estimator) -> Server {
        let server = state.server;
        let address = server.socket_addr();
        Server {
            address,
            method: server.method(),
            tunnel: server.tunnel(),
            weight: server.weight(),
            upper_threshold: server.thresholds().upper(),
            lower_threshold: server.thresholds().lower(),
            origin: state.origin.into(),
            local: state.local,
            removed: state.draining_removed,
            next_hop: state.next_hop,
            active: state.active,
            inactive: state.inactive,
            persistent: state.persistent,
            stats: state.stats.into(),
            counted: state.counted.into(),
            rates: if state.draining_removed {
                Rates::default()
            } else {
                rates.rates(Subject::Server(service, address))
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_patches_of_the_rfc() {
        for (mut document, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            merge(&mut document, patch);
            assert_eq!(document, result);
        }
    }

    #[test]
    fn taking_from_persistence_that_is_not_there_changes_nothing() {
        let change = |text| ServiceChange(serde_json::from_value(text).expect("a change"));
        let plain = ServiceOptions::default();
        let parts = json!({"persistence": {"netmask": null, "engine": null}});
        assert_eq!(change(parts).apply(&plain).ok(), Some(plain.clone()));
        let whole = change(json!({"persistence": {}})).apply(&plain);
        assert!(whole.is_ok_and(|options| options.persistence.is_some()));
    }

    #[test]
    fn errors_name_the_field() {
        let knobs = Knobs::defaults(None);
        for (change, message) in [
            (
                json!({"drop_entry": 4}),
                "drop_entry: 4 is not one of 0, 1, 2, 3",
            ),
            (
                json!({"sloppy_tcp": 2}),
                "sloppy_tcp: 2 is not a switch: true, false, 1 or 0",
            ),
            (
                json!({"sloppy_tcp": "on"}),
                "sloppy_tcp: \"on\" is not a switch: true, false, 1 or 0",
            ),
        ] {
            let error = patched(&knobs, &knobs, change).expect_err(message);
            assert_eq!(error.to_string(), message);
        }
        let turned = patched(&knobs, &knobs, json!({"sloppy_tcp": 1, "pmtu_disc": 0}));
        assert!(turned.is_ok_and(|turned| turned.sloppy_tcp && !turned.pmtu_disc));
    }

    #[test]
    fn null_restores_a_default() {
        let defaults = json!({"a": 1, "b": {"c": 2, "d": 3}});
        let document = json!({"a": 5, "b": {"c": 6, "d": 7}});
        for (change, result) in [
            (json!({"a": null}), json!({"a": 1, "b": {"c": 6, "d": 7}})),
            (
                json!({"b": {"c": null}}),
                json!({"a": 5, "b": {"c": 2, "d": 7}}),
            ),
            (json!({"b": null}), json!({"a": 5, "b": {"c": 2, "d": 3}})),
            (
                json!({"x": null, "a": 8}),
                json!({"a": 8, "b": {"c": 6, "d": 7}}),
            ),
        ] {
            assert_eq!(patched(&document, &defaults, change).ok(), Some(result));
        }
    }
}

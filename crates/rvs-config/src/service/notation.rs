//! Services and servers in JSON; the same names as in TOML.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ServerAddress, ServerParts, Service};
use crate::match_rule::MatchRule;
use crate::method::Method;
use crate::options;
use crate::persistence::Persistence;
use crate::scheduler::Scheduler;
use crate::server::{Server, Weight};
use crate::service_key::ServiceKey;
use crate::timeouts::OwnTimeouts;
use crate::tunnel::Tunnel;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceNotation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: ServiceKey,
    #[serde(default)]
    scheduler: Scheduler,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scheduler_flags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    persistence: Option<Persistence>,
    #[serde(default, skip_serializing_if = "is_not")]
    one_packet: bool,
    #[serde(default, skip_serializing_if = "OwnTimeouts::is_empty")]
    timeouts: OwnTimeouts,
    #[serde(default, skip_serializing_if = "is_not")]
    move_udp: bool,
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    rules: Vec<MatchRule>,
    #[serde(default, skip_serializing)]
    method: Method,
    #[serde(default)]
    servers: Vec<ServerNotation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerNotation {
    address: ServerAddress,
    #[serde(default)]
    method: Option<Method>,
    #[serde(default, skip_serializing_if = "is_ipip")]
    tunnel: Tunnel,
    #[serde(default)]
    weight: Weight,
    #[serde(default, skip_serializing_if = "is_zero")]
    upper_threshold: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    lower_threshold: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_not(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_ipip(tunnel: &Tunnel) -> bool {
    *tunnel == Tunnel::Ipip
}

impl ServerNotation {
    fn parts(&self, method: Method) -> ServerParts {
        ServerParts {
            method: self.method.unwrap_or(method),
            tunnel: self.tunnel,
            weight: self.weight,
            upper: self.upper_threshold,
            lower: self.lower_threshold,
        }
    }
}

impl From<&Server> for ServerNotation {
    fn from(server: &Server) -> Self {
        ServerNotation {
            address: ServerAddress {
                address: server.address(),
                port: Some(server.port()),
            },
            method: Some(server.method()),
            tunnel: server.tunnel(),
            weight: server.weight(),
            upper_threshold: server.thresholds().upper().into(),
            lower_threshold: server.thresholds().lower().into(),
        }
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ServerNotation::from(self).serialize(serializer)
    }
}

/// Outside a service the port must be there; the method is direct unless given.
impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let notation = ServerNotation::deserialize(deserializer)?;
        if notation.address.port.is_none() {
            let address = notation.address.address;
            return Err(de::Error::custom(format!(
                "the real server {address} lacks its port"
            )));
        }
        notation
            .address
            .server(ServiceKey::PLACEHOLDER, notation.parts(Method::default()))
            .map_err(de::Error::custom)
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = options::Notation::from(self.options.clone());
        ServiceNotation {
            name: self.name.clone(),
            address: self.key,
            scheduler: options.scheduler,
            scheduler_flags: options.scheduler_flags,
            persistence: options.persistence,
            one_packet: options.one_packet,
            timeouts: options.timeouts,
            move_udp: options.move_udp,
            rules: options.rules,
            method: Method::default(),
            servers: self.servers.iter().map(ServerNotation::from).collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let notation = ServiceNotation::deserialize(deserializer)?;
        let options = options::Notation {
            scheduler: notation.scheduler,
            scheduler_flags: notation.scheduler_flags,
            persistence: notation.persistence,
            one_packet: notation.one_packet,
            timeouts: notation.timeouts,
            move_udp: notation.move_udp,
            rules: notation.rules,
        };
        let options = options.try_into().map_err(de::Error::custom)?;
        let mut service = Service::new(notation.address, options).map_err(de::Error::custom)?;
        if let Some(name) = notation.name {
            service = service.named(&name).map_err(de::Error::custom)?;
        }
        for server in notation.servers {
            let server = server
                .address
                .server(service.key, server.parts(notation.method))
                .map_err(de::Error::custom)?;
            service.add_server(server).map_err(de::Error::custom)?;
        }
        Ok(service)
    }
}

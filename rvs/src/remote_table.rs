//! A director's table, as the ipvsadm front end wants it, by way of the API.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rvs_config::{
    Engine, OwnTimeouts, Server, Service, ServiceKey, ServiceOptions, Thresholds, Timeouts, Timer,
};
use rvs_control::client::Method;
use rvs_control::client::{Client, ClientError};
use rvs_control::rates::Rates;
use rvs_control::wire::{self, Code};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::commands::{server_path, service_path};
use crate::ipvsadm::table::{
    ConnectionEntry, ServerEntry, ServiceEntry, Stats, Table, TableError, TimeoutChange,
    TimeoutValues,
};

/// What ipvsadm knows of a service's options, and so replaces; the others stay.
const EDITED: [&str; 4] = ["scheduler", "scheduler_flags", "persistence", "one_packet"];

/// The table of a director that runs somewhere else. Nothing is asked before it is needed.
pub(crate) struct RemoteTable {
    client: Client,
    runtime: Runtime,
}

impl RemoteTable {
    /// The table behind this client.
    pub(crate) fn new(client: Client) -> io::Result<RemoteTable> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(RemoteTable { client, runtime })
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, TableError> {
        self.runtime
            .block_on(self.client.get(path))
            .map_err(refused)
    }

    fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), TableError> {
        self.runtime
            .block_on(self.client.call(method, path, body))
            .map(|_| ())
            .map_err(refused)
    }
}

impl Table for RemoteTable {
    fn size(&mut self) -> Result<u64, TableError> {
        let status: wire::Status = self.get("/v1/status")?;
        Ok(status.table.slots_v4)
    }

    fn services(&mut self) -> Result<Vec<ServiceEntry>, TableError> {
        let services: Vec<wire::Service> = self.get("/v1/services")?;
        services.into_iter().map(service_entry).collect()
    }

    fn connections(
        &mut self,
        visit: &mut dyn FnMut(ConnectionEntry) -> io::Result<()>,
    ) -> Result<(), TableError> {
        self.runtime
            .block_on(self.client.lines("/v1/connections?format=ndjson", |line| {
                let connection: wire::Connection =
                    serde_json::from_slice(line).map_err(ClientError::Body)?;
                Ok(visit(connection_entry(connection))?)
            }))
            .map_err(|error| {
                if let ClientError::Reader(error) = error {
                    TableError::Visitor(error.kind(), error.to_string())
                } else {
                    refused(error)
                }
            })
    }

    fn add_service(&mut self, key: ServiceKey, options: &ServiceOptions) -> Result<(), TableError> {
        match Service::new(key, options.clone()) {
            Ok(service) => self.change(Method::POST, "/v1/services", Some(&service)),
            // What is there is there, whatever is wrong with the rest.
            Err(_) if self.get::<wire::Service>(&service_path(key)).is_ok() => {
                Err(TableError::ServiceExists)
            }
            Err(error) => Err(TableError::Other(error.to_string())),
        }
    }

    fn edit_service(
        &mut self,
        key: ServiceKey,
        options: &ServiceOptions,
    ) -> Result<(), TableError> {
        let change = wire::ServiceChange::of(options, &EDITED);
        self.change(Method::PATCH, &service_path(key), Some(&change))
    }

    fn delete_service(&mut self, key: ServiceKey) -> Result<(), TableError> {
        self.change(Method::DELETE, &service_path(key), None::<&()>)
    }

    fn clear(&mut self) -> Result<(), TableError> {
        self.change(Method::DELETE, "/v1/services", None::<&()>)
    }

    fn add_server(&mut self, key: ServiceKey, server: Server) -> Result<(), TableError> {
        let path = format!("{}/servers", service_path(key));
        self.change(Method::POST, &path, Some(&server))
            .map_err(not_defined)
    }

    fn edit_server(&mut self, key: ServiceKey, server: Server) -> Result<(), TableError> {
        let path = server_path(key, &server.socket_addr().to_string());
        let change = wire::ServerChange::to(&server);
        self.change(Method::PUT, &path, Some(&change))
            .map_err(not_defined)
    }

    fn delete_server(&mut self, key: ServiceKey, server: SocketAddr) -> Result<(), TableError> {
        let path = server_path(key, &server.to_string());
        self.change(Method::DELETE, &path, None::<&()>)
            .map_err(not_defined)
    }

    fn zero(&mut self, key: Option<ServiceKey>) -> Result<(), TableError> {
        let path = match key {
            Some(key) => format!("{}/zero", service_path(key)),
            None => "/v1/zero".to_owned(),
        };
        self.change(Method::POST, &path, None::<&()>)
    }

    fn timeouts(&mut self) -> Result<TimeoutValues, TableError> {
        let timeouts: Timeouts = self.get("/v1/timeouts")?;
        Ok(TimeoutValues {
            tcp: timeouts.get(Timer::TcpEstablished),
            tcp_fin: timeouts.get(Timer::TcpFinWait),
            udp: timeouts.get(Timer::Udp),
        })
    }

    fn wait_until_published(&mut self) {
        // The change is made whether or not this is answered, as it is not by an older daemon.
        let _ = self.get::<wire::Published>("/v1/published");
    }

    fn set_timeouts(&mut self, change: TimeoutChange) -> Result<(), TableError> {
        let mut timeouts = OwnTimeouts::NONE;
        timeouts.set(Timer::TcpEstablished, change.tcp);
        timeouts.set(Timer::TcpFinWait, change.tcp_fin);
        timeouts.set(Timer::Udp, change.udp);
        self.change(Method::PUT, "/v1/timeouts", Some(&timeouts))
    }
}

/// ipvsadm says of a server's service that it is not defined, and of a service that there is no such.
fn not_defined(error: TableError) -> TableError {
    if error == TableError::NoSuchService {
        TableError::ServiceNotDefined
    } else {
        error
    }
}

fn refused(error: ClientError) -> TableError {
    match error {
        ClientError::Refused(refusal) => match refusal.code {
            Code::NoSuchService => TableError::NoSuchService,
            Code::NoSuchServer => TableError::NoSuchDestination,
            Code::ServiceExists => TableError::ServiceExists,
            Code::ServerExists => TableError::DestinationExists,
            Code::NoRoom => TableError::NoMemory,
            Code::Invalid
            | Code::TooLarge
            | Code::NoSuchPath
            | Code::WrongMethod
            | Code::BadConfiguration
            | Code::Kernel
            | Code::Stopping => TableError::Other(refusal.error),
        },
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            TableError::PermissionDenied
        }
        error @ ClientError::Connect { .. } => TableError::Other(crate::commands::explain(&error)),
        error @ (ClientError::Silent(_)
        | ClientError::Strange(_)
        | ClientError::Body(_)
        | ClientError::Http(_)
        | ClientError::Request(_)
        | ClientError::Reader(_)) => TableError::Other(error.to_string()),
    }
}

fn service_entry(service: wire::Service) -> Result<ServiceEntry, TableError> {
    let servers = service
        .servers
        .iter()
        .filter(|server| !server.removed)
        .map(|server| server_entry(service.address, server))
        .collect::<Result<_, _>>()?;
    Ok(ServiceEntry {
        key: service.address,
        options: service.options,
        stats: stats(service.stats),
        rates: rates(service.rates),
        servers,
    })
}

fn server_entry(key: ServiceKey, server: &wire::Server) -> Result<ServerEntry, TableError> {
    let strange = || {
        TableError::Other(format!(
            "the director's answer: {} is no real server of {key}",
            server.address
        ))
    };
    let thresholds = Thresholds::new(server.upper_threshold.into(), server.lower_threshold.into())
        .map_err(|_| strange())?;
    let known = Server::new(
        server.address.ip(),
        server.address.port(),
        server.method,
        server.weight,
    )
    .and_then(|known| known.with_tunnel(server.tunnel))
    .map_err(|_| strange())?
    .with_thresholds(thresholds);
    Ok(ServerEntry {
        server: known,
        active: server.active,
        inactive: server.inactive,
        persistent: server.persistent,
        stats: stats(server.stats),
        rates: rates(server.rates),
    })
}

fn connection_entry(connection: wire::Connection) -> ConnectionEntry {
    // The original has a mark in the place of an address's first bytes.
    let virtual_address = connection.mark.map(|mark| match connection.client {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::from_bits(mark), 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::from_bits(u128::from(mark) << 96), 0)),
    });
    ConnectionEntry {
        protocol: connection.mark.is_none().then_some(connection.protocol),
        client: connection.client,
        virtual_address: virtual_address.unwrap_or(connection.service),
        destination: connection.server,
        state: connection.state,
        expires: Duration::from_secs(connection.expires),
        engine: connection.call.map(|call| (Engine::Sip.to_string(), call)),
    }
}

fn stats(stats: wire::Stats) -> Stats {
    Stats {
        connections: stats.connections,
        packets_in: stats.packets_in,
        packets_out: stats.packets_out,
        bytes_in: stats.bytes_in,
        bytes_out: stats.bytes_out,
    }
}

fn rates(rates: Rates) -> Stats {
    Stats {
        connections: rates.connections,
        packets_in: rates.packets_in,
        packets_out: rates.packets_out,
        bytes_in: rates.bytes_in,
        bytes_out: rates.bytes_out,
    }
}

#[cfg(test)]
mod tests;

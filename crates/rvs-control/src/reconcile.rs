//! What must change so that the director does what its configuration says. Pure: it looks at two descriptions and
//! returns a list.
//!
//! Rules: what is equal is not touched. What was asked for at run time stays, unless the configuration speaks of the
//! same service or server: then the configuration's word holds. What came from an earlier configuration and is not in
//! this one is removed. New things come before removals, so that a service whose servers are all replaced is never
//! without one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rvs_config::{MAX_SERVERS, Server, Service, ServiceKey, ServiceOptions, Services};

use crate::forwarding::{ChangeError, Forwarding, Origin, ServerState, ServiceState};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields' names say it")]
pub enum Change {
    /// A service with its servers.
    AddService { service: Service, origin: Origin },
    /// Other options.
    SetOptions {
        key: ServiceKey,
        options: ServiceOptions,
    },
    /// A service and all its servers.
    RemoveService { key: ServiceKey },
    /// A server of a service that is there.
    AddServer {
        key: ServiceKey,
        server: Server,
        origin: Origin,
    },
    /// Another weight or method, other thresholds or another tunnel.
    SetServer { key: ServiceKey, server: Server },
    /// A server of a service that stays.
    RemoveServer { key: ServiceKey, server: SocketAddr },
}

impl Change {
    /// Does it.
    pub fn apply(&self, to: &mut dyn Forwarding) -> Result<(), ChangeError> {
        match self {
            Change::AddService { service, origin } => to.add_service(service, *origin),
            Change::SetOptions { key, options } => to.set_options(key, options),
            Change::RemoveService { key } => to.remove_service(key),
            Change::AddServer {
                key,
                server,
                origin,
            } => to.add_server(key, server, *origin),
            Change::SetServer { key, server } => to.set_server(key, server),
            Change::RemoveServer { key, server } => to.remove_server(key, *server),
        }
    }

    /// The addresses of the servers that it adds.
    pub fn new_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let servers = match self {
            Change::AddService { service, .. } => service.servers(),
            Change::AddServer { server, .. } => std::slice::from_ref(server),
            Change::SetOptions { .. }
            | Change::RemoveService { .. }
            | Change::SetServer { .. }
            | Change::RemoveServer { .. } => &[],
        };
        servers.iter().map(Server::address)
    }

    /// The steps that undo it, where `before` is how things were.
    pub fn undo(&self, before: &[ServiceState]) -> Vec<Change> {
        let was = |key: &ServiceKey| before.iter().find(|service| service.key == *key);
        let server_was = |key: &ServiceKey, address: SocketAddr| {
            was(key).and_then(|service| {
                present(service).find(|state| state.server.socket_addr() == address)
            })
        };
        match self {
            Change::AddService { service, .. } => {
                vec![Change::RemoveService { key: service.key() }]
            }
            Change::SetOptions { key, .. } => was(key)
                .map(|service| Change::SetOptions {
                    key: *key,
                    options: service.options.clone(),
                })
                .into_iter()
                .collect(),
            Change::RemoveService { key } => was(key).map(restore).unwrap_or_default(),
            Change::AddServer { key, server, .. } => vec![Change::RemoveServer {
                key: *key,
                server: server.socket_addr(),
            }],
            Change::SetServer { key, server } => server_was(key, server.socket_addr())
                .map(|state| Change::SetServer {
                    key: *key,
                    server: state.server,
                })
                .into_iter()
                .collect(),
            Change::RemoveServer { key, server } => server_was(key, *server)
                .map(|state| Change::AddServer {
                    key: *key,
                    server: state.server,
                    origin: state.origin,
                })
                .into_iter()
                .collect(),
        }
    }
}

/// The steps from what is to what is wanted, in the order in which they are to be done.
pub fn reconcile(intended: &Services, actual: &[ServiceState]) -> Vec<Change> {
    let mut changes = Vec::new();
    let known: BTreeMap<ServiceKey, &ServiceState> =
        actual.iter().map(|state| (state.key, state)).collect();
    for service in intended {
        match known.get(&service.key()) {
            None => changes.push(Change::AddService {
                service: service.clone(),
                origin: Origin::Configured,
            }),
            Some(state) => service_changes(service, state, &mut changes),
        }
    }
    let left = |state: &&ServiceState| {
        state.origin == Origin::Configured && intended.get(state.key).is_none()
    };
    changes.extend(
        actual
            .iter()
            .filter(left)
            .map(|state| Change::RemoveService { key: state.key }),
    );
    changes
}

fn service_changes(service: &Service, state: &ServiceState, changes: &mut Vec<Change>) {
    let key = service.key();
    if state.options != *service.options() {
        changes.push(Change::SetOptions {
            key,
            options: service.options().clone(),
        });
    }
    let known = |server: &Server| {
        present(state).find(|state| state.server.socket_addr() == server.socket_addr())
    };
    let set = service
        .servers()
        .iter()
        .filter(|server| known(server).is_some_and(|state| state.server != **server))
        .map(|&server| Change::SetServer { key, server });
    let additions: Vec<Change> = service
        .servers()
        .iter()
        .filter(|server| known(server).is_none())
        .map(|&server| Change::AddServer {
            key,
            server,
            origin: Origin::Configured,
        })
        .collect();
    // In the order of their declaration, which is the reverse of the list's.
    let removals: Vec<Change> = present(state)
        .filter(|state| {
            state.origin == Origin::Configured
                && service.server(state.server.socket_addr()).is_none()
        })
        .map(|state| Change::RemoveServer {
            key,
            server: state.server.socket_addr(),
        })
        .rev()
        .collect();
    changes.extend(set);
    if present(state).count() + additions.len() > MAX_SERVERS {
        changes.extend(removals);
        changes.extend(additions);
    } else {
        changes.extend(additions);
        changes.extend(removals);
    }
}

/// The servers that were not removed.
fn present(service: &ServiceState) -> impl DoubleEndedIterator<Item = &ServerState> {
    service
        .servers
        .iter()
        .filter(|state| !state.draining_removed)
}

/// The steps that make a service again as it was.
fn restore(service: &ServiceState) -> Vec<Change> {
    // What was there could be there.
    let Ok(empty) = Service::new(service.key, service.options.clone()) else {
        return Vec::new();
    };
    let bare = match service
        .name
        .as_deref()
        .map(|name| empty.clone().named(name))
    {
        Some(Ok(named)) => named,
        Some(Err(_)) | None => empty,
    };
    // The oldest first, so that the list comes out in its former order.
    let servers = present(service).rev().map(|state| Change::AddServer {
        key: service.key,
        server: state.server,
        origin: state.origin,
    });
    std::iter::once(Change::AddService {
        service: bare,
        origin: service.origin,
    })
    .chain(servers)
    .collect()
}

#[cfg(test)]
mod tests;

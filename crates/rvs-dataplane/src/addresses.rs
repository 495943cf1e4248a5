//! The address index: what an address means to the director, whatever the port, and which NAT server has an address and
//! port. A service or server that comes, goes or changes moves counts here, and what these change the meaning of is
//! written to the kernel; nothing walks through all services.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use rvs_abi::{AddressKey, service::address as meaning};
use rvs_config::{Method, Protocol, ServiceKey};

use crate::{
    ChangeError, change::kernel_error, coalesce::RETRY, dataplane::Dataplane, rows::Rows,
    shared::Plain, wire,
};

/// Address, protocol, family and port, as in an [`AddressKey`], but with an order.
type Address = ([u32; 4], u8, u8, u16);

/// What this process knows of the index.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    holders: BTreeMap<Address, Holders>,
    /// As they were counted.
    services: BTreeSet<ServiceKey>,
    servers: BTreeMap<u32, (ServiceKey, SocketAddr)>,
    /// What the kernel knows.
    written: BTreeMap<Address, u32>,
    /// Which may differ from what it should.
    stale: BTreeSet<Address>,
    /// When it is tried again, after an error.
    pub(crate) retry: Option<Instant>,
}

/// Who has an address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Holders {
    services: u32,
    /// NAT servers, where the port is any.
    servers: u32,
    /// NAT servers, where it is this one.
    here: BTreeSet<u32>,
}

impl Holders {
    /// The word of the index; 0 is no word. A server stands for all at its address and port.
    fn meaning(&self) -> u32 {
        let mut word = 0;
        if self.services > 0 {
            word |= meaning::VIRTUAL;
        }
        if self.servers > 0 {
            word |= meaning::NAT_SERVER;
        }
        if let Some(index) = self.here.first() {
            word |= meaning::NAT_SERVER | index << meaning::SERVER_SHIFT;
        }
        word
    }
}

impl Addresses {
    /// The kernel knows these, whatever they mean.
    pub(crate) fn found(&mut self, keys: impl Iterator<Item = AddressKey>) {
        for key in keys {
            let address = (key.address, key.protocol, key.family, key.port);
            // No address means nothing: this is written or removed.
            self.written.insert(address, 0);
            self.stale.insert(address);
        }
    }

    /// Counts all services and servers.
    pub(crate) fn count_all(&mut self, rows: &Rows) {
        for key in rows.services.keys() {
            self.service_changed(rows, key);
        }
        for index in rows.servers.keys() {
            self.server_changed(rows, *index);
        }
    }

    /// The service may have come or gone.
    pub(crate) fn service_changed(&mut self, rows: &Rows, key: &ServiceKey) {
        let Some(address) = key.address() else {
            return;
        };
        let is_there = rows.service(key).is_some();
        let changed = if is_there {
            self.services.insert(*key)
        } else {
            self.services.remove(key)
        };
        if !changed {
            return;
        }
        self.hold(key, address, 0, |holders| {
            if is_there {
                holders.services += 1;
            } else {
                holders.services -= 1;
            }
        });
    }

    /// The server may have come, gone, or changed its method.
    pub(crate) fn server_changed(&mut self, rows: &Rows, index: u32) {
        let now = rows
            .servers
            .get(&index)
            .filter(|row| row.removed.is_none() && row.server.method() == Method::Nat)
            .and_then(|row| Some((row.service?, row.server.socket_addr())));
        let before = match now {
            Some(now) => self.servers.insert(index, now),
            None => self.servers.remove(&index),
        };
        if before == now {
            return;
        }
        if let Some((key, at)) = before {
            self.hold(&key, at.ip(), 0, |holders| holders.servers -= 1);
            self.hold(&key, at.ip(), at.port(), |holders| {
                holders.here.remove(&index);
            });
        }
        if let Some((key, at)) = now {
            self.hold(&key, at.ip(), 0, |holders| holders.servers += 1);
            self.hold(&key, at.ip(), at.port(), |holders| {
                holders.here.insert(index);
            });
        }
    }

    /// Changes who has an address, for all protocols that the service takes.
    fn hold(
        &mut self,
        service: &ServiceKey,
        address: IpAddr,
        port: u16,
        change: impl Fn(&mut Holders),
    ) {
        let one;
        let protocols: &[Protocol] = match service {
            ServiceKey::Address(key) => {
                one = [key.protocol()];
                &one
            }
            ServiceKey::Mark(_) => &Protocol::ALL,
        };
        for protocol in protocols {
            let key = wire::address_key(address, protocol.number());
            let at = (key.address, key.protocol, key.family, port.to_be());
            let holders = self.holders.entry(at).or_default();
            change(holders);
            if *holders == Holders::default() {
                self.holders.remove(&at);
            }
            self.stale.insert(at);
        }
    }
}

impl Dataplane {
    /// Brings the kernel's index up to date.
    pub(crate) fn write_addresses(&mut self) -> Result<(), ChangeError> {
        let index = &mut self.addresses;
        while let Some(at) = index.stale.first().copied() {
            let wanted = index.holders.get(&at).map_or(0, Holders::meaning);
            let (address, protocol, family, port) = at;
            let key = Plain(AddressKey {
                address,
                protocol,
                family,
                port,
            });
            let written = index.written.get(&at).copied();
            if wanted == 0 && written.is_some() {
                let _ = self.maps.addresses.remove(&key);
                index.written.remove(&at);
            } else if wanted != 0 && written != Some(wanted) {
                self.maps
                    .addresses
                    .insert(key, wanted, 0)
                    .map_err(|error| kernel_error("adding to the address index", &error))?;
                index.written.insert(at, wanted);
            }
            index.stale.remove(&at);
        }
        index.retry = None;
        Ok(())
    }

    /// The same, and if the kernel refuses it is tried again later.
    pub(crate) fn addresses_changed(&mut self) {
        if let Err(error) = self.write_addresses() {
            tracing::error!(%error, "the address index could not be written");
            self.addresses.retry = Some(Instant::now() + RETRY);
        }
    }
}

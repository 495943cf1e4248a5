//! All the virtual services of a director.

use std::collections::BTreeMap;

use crate::service::Service;
use crate::service_key::ServiceKey;

/// How many services one director can have.
pub const MAX_SERVICES: usize = 16384;

/// How many real servers one director can have, over all its services.
pub const MAX_SERVERS_IN_ALL: usize = 65_536;
/// How many match rules one director can have, over all its services.
pub const MAX_RULES_IN_ALL: usize = 1024;

/// Virtual services in the order of their declaration, no two with the same key or the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    list: Vec<Service>,
    /// Where they are in the list.
    places: BTreeMap<ServiceKey, usize>,
    /// Whose the names are.
    names: BTreeMap<String, ServiceKey>,
}

impl Services {
    /// No services.
    pub const fn new() -> Services {
        Services {
            list: Vec::new(),
            places: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// All of them, in the order of their declaration.
    pub fn as_slice(&self) -> &[Service] {
        &self.list
    }

    /// All of them, in the order of their declaration.
    pub fn iter(&self) -> std::slice::Iter<'_, Service> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The service with this key.
    pub fn get(&self, key: ServiceKey) -> Option<&Service> {
        self.list.get(*self.places.get(&key)?)
    }

    /// The service with this key, to change it. Neither key nor name can be changed.
    pub fn get_mut(&mut self, key: ServiceKey) -> Result<&mut Service, ServicesError> {
        self.places
            .get(&key)
            .and_then(|place| self.list.get_mut(*place))
            .ok_or(ServicesError::NoSuchService(key))
    }

    /// Adds a service behind the others.
    pub fn add(&mut self, service: Service) -> Result<(), ServicesError> {
        if self.places.contains_key(&service.key()) {
            return Err(ServicesError::Duplicate(service.key()));
        }
        self.set(service).map(|_| ())
    }

    /// Puts a service in the place of the one with the same key, or behind the others. Returns the former one.
    pub fn set(&mut self, service: Service) -> Result<Option<Service>, ServicesError> {
        let key = service.key();
        self.name_is_free(&service)?;
        let name = service.name().map(str::to_owned);
        let place = self.places.get(&key).copied();
        let length = self.list.len();
        let former = match place.and_then(|place| self.list.get_mut(place)) {
            Some(known) => Some(std::mem::replace(known, service)),
            None if length >= MAX_SERVICES => return Err(ServicesError::TooMany(key)),
            None => {
                self.places.insert(key, length);
                self.list.push(service);
                None
            }
        };
        if let Some(former) = former.as_ref().and_then(Service::name) {
            self.names.remove(former);
        }
        if let Some(name) = name {
            self.names.insert(name, key);
        }
        Ok(former)
    }

    /// Takes a service away.
    pub fn remove(&mut self, key: ServiceKey) -> Result<Service, ServicesError> {
        let place = self
            .places
            .remove(&key)
            .filter(|place| *place < self.list.len())
            .ok_or(ServicesError::NoSuchService(key))?;
        let removed = self.list.remove(place);
        for later in self.places.values_mut().filter(|later| **later > place) {
            *later -= 1;
        }
        if let Some(name) = removed.name() {
            self.names.remove(name);
        }
        Ok(removed)
    }

    /// Takes all services away.
    pub fn clear(&mut self) {
        *self = Services::new();
    }

    fn name_is_free(&self, service: &Service) -> Result<(), ServicesError> {
        let Some(name) = service.name() else {
            return Ok(());
        };
        match self.names.get(name) {
            Some(holder) if *holder != service.key() => Err(ServicesError::DuplicateName {
                name: name.to_owned(),
                holder: *holder,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl<'a> IntoIterator for &'a Services {
    type Item = &'a Service;
    type IntoIter = std::slice::Iter<'a, Service>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// Why the services cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServicesError {
    /// The service is there already.
    #[error("the service {0} is there twice")]
    Duplicate(ServiceKey),
    /// The name is another service's.
    #[error("the service name {name:?} belongs to {holder} already")]
    DuplicateName {
        /// The name.
        name: String,
        /// Whose it is.
        holder: ServiceKey,
    },
    /// The director is full.
    #[error("there are {MAX_SERVICES} services already: no room for {0}")]
    TooMany(ServiceKey),
    /// No such service.
    #[error("no service {0}")]
    NoSuchService(ServiceKey),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ServiceOptions;
    use crate::scheduler::Scheduler;

    fn service(address: &str, name: &str) -> Service {
        Service::new(
            address.parse().expect(address),
            ServiceOptions::new(Scheduler::Rr),
        )
        .and_then(|service| service.named(name))
        .expect(name)
    }

    #[test]
    fn keys_and_names_are_unique() {
        let mut services = Services::new();
        services
            .add(service("tcp://10.0.0.1:80", "web"))
            .expect("added");
        assert_eq!(
            services
                .add(service("tcp://10.0.0.1:80", "other"))
                .expect_err("twice")
                .to_string(),
            "the service tcp://10.0.0.1:80 is there twice"
        );
        assert_eq!(
            services
                .set(service("tcp://10.0.0.2:80", "web"))
                .expect_err("name")
                .to_string(),
            "the service name \"web\" belongs to tcp://10.0.0.1:80 already"
        );
        let former = services
            .set(service("tcp://10.0.0.1:80", "www"))
            .expect("set")
            .expect("former");
        assert_eq!(former.name(), Some("web"));
        assert_eq!(services.len(), 1);
        assert_eq!(
            services.remove(former.key()).expect("removed").name(),
            Some("www")
        );
        assert_eq!(
            services.remove(former.key()),
            Err(ServicesError::NoSuchService(former.key()))
        );
    }

    #[test]
    fn removal_keeps_the_order_and_frees_the_name() {
        let mut services = Services::new();
        for (host, name) in [(1, "a"), (2, "b"), (3, "c")] {
            services
                .add(service(&format!("tcp://10.0.0.{host}:80"), name))
                .expect(name);
        }
        let second = "tcp://10.0.0.2:80".parse().expect("key");
        services.remove(second).expect("removed");
        assert!(services.get(second).is_none());
        let third = services.get("tcp://10.0.0.3:80".parse().expect("key"));
        assert_eq!(third.and_then(Service::name), Some("c"));
        services
            .add(service("tcp://10.0.0.4:80", "b"))
            .expect("the name is free again");
        let names: Vec<_> = services.iter().filter_map(Service::name).collect();
        assert_eq!(names, ["a", "c", "b"]);
    }

    #[test]
    fn at_most_16384_services() {
        let mut services = Services::new();
        let numbered = |mark: usize| {
            Service::new(
                format!("fwmark://{mark}").parse().expect("key"),
                ServiceOptions::default(),
            )
            .expect("service")
        };
        for mark in 1..=MAX_SERVICES {
            services.add(numbered(mark)).expect("room");
        }
        assert_eq!(
            services
                .add(numbered(MAX_SERVICES + 1))
                .expect_err("full")
                .to_string(),
            "there are 16384 services already: no room for fwmark://16385"
        );
    }
}

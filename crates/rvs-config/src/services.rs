//! All the virtual services of a director.

use crate::service::Service;
use crate::service_key::ServiceKey;

/// Virtual services in the order of their declaration, no two with the same key or the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services(Vec<Service>);

impl Services {
    /// No services.
    pub const fn new() -> Services {
        Services(Vec::new())
    }

    /// All of them, in the order of their declaration.
    pub fn as_slice(&self) -> &[Service] {
        &self.0
    }

    /// All of them, in the order of their declaration.
    pub fn iter(&self) -> std::slice::Iter<'_, Service> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The service with this key.
    pub fn get(&self, key: ServiceKey) -> Option<&Service> {
        self.0.iter().find(|service| service.key() == key)
    }

    /// The service with this key, to change it. Neither key nor name can be changed.
    pub fn get_mut(&mut self, key: ServiceKey) -> Result<&mut Service, ServicesError> {
        self.0
            .iter_mut()
            .find(|service| service.key() == key)
            .ok_or(ServicesError::NoSuchService(key))
    }

    /// Adds a service behind the others.
    pub fn add(&mut self, service: Service) -> Result<(), ServicesError> {
        if self.get(service.key()).is_some() {
            return Err(ServicesError::Duplicate(service.key()));
        }
        self.name_is_free(&service)?;
        self.0.push(service);
        Ok(())
    }

    /// Puts a service in the place of the one with the same key, or behind the others. Returns the former one.
    pub fn set(&mut self, service: Service) -> Result<Option<Service>, ServicesError> {
        self.name_is_free(&service)?;
        match self.0.iter_mut().find(|known| known.key() == service.key()) {
            Some(known) => Ok(Some(std::mem::replace(known, service))),
            None => {
                self.0.push(service);
                Ok(None)
            }
        }
    }

    /// Takes a service away.
    pub fn remove(&mut self, key: ServiceKey) -> Result<Service, ServicesError> {
        let index = self
            .0
            .iter()
            .position(|service| service.key() == key)
            .ok_or(ServicesError::NoSuchService(key))?;
        Ok(self.0.remove(index))
    }

    /// Takes all services away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn name_is_free(&self, service: &Service) -> Result<(), ServicesError> {
        let Some(name) = service.name() else {
            return Ok(());
        };
        match self
            .0
            .iter()
            .find(|known| known.name() == Some(name) && known.key() != service.key())
        {
            Some(known) => Err(ServicesError::DuplicateName {
                name: name.to_owned(),
                holder: known.key(),
            }),
            None => Ok(()),
        }
    }
}

impl<'a> IntoIterator for &'a Services {
    type Item = &'a Service;
    type IntoIter = std::slice::Iter<'a, Service>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
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
    /// No such service.
    #[error("no service {0}")]
    NoSuchService(ServiceKey),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Scheduler;

    fn service(address: &str, name: &str) -> Service {
        Service::new(address.parse().expect(address), Scheduler::Rr)
            .named(name)
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
}

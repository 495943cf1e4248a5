//! What can be changed of a service while it is there: everything but its identity, its name and its servers.

use serde::{Deserialize, Serialize};

use crate::match_rule::MatchRule;
use crate::persistence::Persistence;
use crate::scheduler::{Scheduler, SchedulerFlagError, SchedulerFlags};
use crate::service::ServiceError;
use crate::service_key::{Protocol, ServiceKey};
use crate::timeouts::OwnTimeouts;

/// How many match rules one service can have.
pub const MAX_RULES: usize = 64;

/// How a service treats its clients. Whether it fits a service is looked at when a [`crate::Service`] takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Notation", try_from = "Notation")]
pub struct ServiceOptions {
    /// How it chooses.
    pub scheduler: Scheduler,
    /// The scheduler's flags.
    pub scheduler_flags: SchedulerFlags,
    /// Whether and how clients come back to the same server.
    pub persistence: Option<Persistence>,
    /// UDP: every datagram is scheduled anew and leaves no connection.
    pub one_packet: bool,
    /// Timeouts in place of the director's.
    pub timeouts: OwnTimeouts,
    /// UDP flows of a removed server go to another at once.
    pub move_udp: bool,
    /// Which packets are a firewall mark's service's without the mark.
    pub rules: Vec<MatchRule>,
}

impl ServiceOptions {
    /// The defaults with this scheduler.
    pub fn new(scheduler: Scheduler) -> ServiceOptions {
        ServiceOptions {
            scheduler,
            ..ServiceOptions::default()
        }
    }

    /// These options, written as a service with this key has them; an error if none can have them.
    pub(crate) fn of_service(
        mut self,
        service: ServiceKey,
    ) -> Result<ServiceOptions, ServiceError> {
        if let ServiceKey::Address(address) = service
            && address.port() == 0
            && self.persistence.is_none()
        {
            return Err(ServiceError::EveryPort(service));
        }
        if let Some(persistence) = &mut self.persistence {
            if let Some(netmask) = persistence.netmask {
                persistence.netmask = netmask
                    .of_family(service.family())
                    .map_err(|netmask| ServiceError::Netmask { service, netmask })?;
            }
            if let Some(engine) = persistence.engine
                && !service.takes(Protocol::Udp)
            {
                return Err(ServiceError::EngineWithoutUdp { service, engine });
            }
        }
        if self.one_packet && !service.takes(Protocol::Udp) {
            return Err(ServiceError::OnePacketWithoutUdp(service));
        }
        if self.move_udp && !service.takes(Protocol::Udp) {
            return Err(ServiceError::MoveWithoutUdp(service));
        }
        if let Some((timer, _)) = self
            .timeouts
            .iter()
            .find(|(timer, _)| !service.takes(timer.protocol()))
        {
            return Err(ServiceError::ForeignTimeout { service, timer });
        }
        if let (ServiceKey::Address(_), [rule, ..]) = (service, self.rules.as_slice()) {
            return Err(ServiceError::RuleWithoutMark {
                service,
                rule: *rule,
            });
        }
        if let Some(rule) = self
            .rules
            .iter()
            .find(|rule| rule.family() != service.family())
        {
            return Err(ServiceError::RuleFamily {
                service,
                rule: *rule,
            });
        }
        if self.rules.len() > MAX_RULES {
            return Err(ServiceError::TooManyRules(service));
        }
        Ok(self)
    }
}

/// The notation in JSON; the same names as in TOML.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Notation {
    pub(crate) scheduler: Scheduler,
    pub(crate) scheduler_flags: Vec<String>,
    pub(crate) persistence: Option<Persistence>,
    pub(crate) one_packet: bool,
    pub(crate) timeouts: OwnTimeouts,
    pub(crate) move_udp: bool,
    #[serde(rename = "match")]
    pub(crate) rules: Vec<MatchRule>,
}

impl From<ServiceOptions> for Notation {
    fn from(options: ServiceOptions) -> Self {
        Notation {
            scheduler: options.scheduler,
            scheduler_flags: options
                .scheduler_flags
                .names(options.scheduler)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            persistence: options.persistence,
            one_packet: options.one_packet,
            timeouts: options.timeouts,
            move_udp: options.move_udp,
            rules: options.rules,
        }
    }
}

impl TryFrom<Notation> for ServiceOptions {
    type Error = SchedulerFlagError;

    fn try_from(notation: Notation) -> Result<Self, SchedulerFlagError> {
        let words = notation.scheduler_flags.iter().map(String::as_str);
        Ok(ServiceOptions {
            scheduler: notation.scheduler,
            scheduler_flags: SchedulerFlags::parse(notation.scheduler, words)?,
            persistence: notation.persistence,
            one_packet: notation.one_packet,
            timeouts: notation.timeouts,
            move_udp: notation.move_udp,
            rules: notation.rules,
        })
    }
}

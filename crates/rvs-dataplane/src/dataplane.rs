//! The data plane of one director: opening, adopting, upgrading, attaching, ending.

use std::{collections::BTreeMap, fs, path::Path};

use aya::Ebpf;
use rvs_abi::Settings;
use rvs_config::{Attach, Compat, Director, Knobs, ServiceKey};

use crate::{
    Adoption, OpenError,
    addresses::Addresses,
    attach::{self, Interface},
    coalesce::Waiting,
    detour::Detour,
    kernel, links,
    localities::Rounds,
    object::{self, EXPRESS, INGRESS, INGRESS_L3, Maps, Pins, Sizes},
    programs,
    rows::Rows,
    sweeper::Progress,
    upgrade,
};

/// ICMP errors that the director sends in a second, at the most.
const ICMP_PER_SECOND: u32 = 1000;
/// How long the dead rest, in seconds: longer than any program may read a slot.
const QUARANTINE_SECONDS: u32 = 1;

/// A director's programs and tables in the kernel.
pub struct Dataplane {
    /// Before the programs that it uses: fields are dropped in order.
    detour: Option<Detour>,
    pub(crate) object: Ebpf,
    pub(crate) maps: Maps,
    pub(crate) rows: Rows,
    pub(crate) sizes: Sizes,
    pub(crate) pins: Pins,
    pub(crate) interfaces: Vec<(Interface, bool)>,
    /// Interfaces without link header, by index.
    pub(crate) headless: Vec<u32>,
    pub(crate) local_clients: bool,
    pub(crate) local: crate::local::Attached,
    attach: Attach,
    pub(crate) addresses: Addresses,
    /// Services of which the kernel does not know the newest list yet.
    pub(crate) waiting: BTreeMap<ServiceKey, Waiting>,
    pub(crate) sweep: Progress,
    pub(crate) localities: Rounds,
    pub(crate) ticks: u32,
    pub(crate) knobs: Knobs,
    pub(crate) compat: Option<Compat>,
}

impl Dataplane {
    /// Loads the programs, or takes over those that are there, and attaches them to the director's
    /// interfaces. Nothing is changed where it fails early; a director that was there goes on.
    pub fn open(director: &Director) -> Result<(Self, Adoption), OpenError> {
        kernel::check(&director.bpffs)?;
        let mut interfaces = Vec::new();
        for name in &director.interfaces {
            let ifindex = kernel::ifindex(name.as_str())?;
            interfaces.push(Interface {
                name: name.as_str().to_owned(),
                ifindex,
            });
        }
        let facts = links::facts(&interfaces)?;
        let sizes = Sizes::of(director);
        let pins = Pins::new(&director.bpffs, director.instance.as_str());
        for interface in &interfaces {
            if attach::is_anothers(interface, &pins.links()) {
                return Err(OpenError::InterfaceTaken(interface.name.clone()));
            }
        }
        let directory = pins.maps(sizes);
        let adopted = is_ready(&directory, sizes)?;
        for path in [&directory, &pins.links()] {
            fs::create_dir_all(path)
                .map_err(|error| OpenError::kernel(format!("making {}", path.display()), error))?;
        }
        let (object, maps) = object::load(&directory, sizes)?;

        let ticks = match maps.settings.get(0) {
            Some(settings) if adopted => settings.ticks_per_second.load(),
            _ => programs::ticks_per_second(&object)?,
        };
        let rows = if adopted {
            Rows::read(&maps)
        } else {
            Rows::default()
        };
        let mut dataplane = Self {
            detour: None,
            object,
            maps,
            rows,
            sizes,
            pins,
            interfaces: Vec::new(),
            headless: Vec::new(),
            local_clients: director.local_clients,
            local: crate::local::Attached::default(),
            attach: director.attach,
            addresses: Addresses::default(),
            waiting: BTreeMap::new(),
            sweep: Progress::default(),
            localities: Rounds::default(),
            ticks,
            knobs: director.knobs,
            compat: director.compat,
        };
        if !adopted {
            dataplane.initialise()?;
        }
        dataplane.set_timeouts(&director.timeouts);
        dataplane.set_knobs(&director.knobs, director.compat);
        dataplane.repair()?;

        let others = dataplane.pins.others(&directory);
        let olds = upgrade::readable(&others, &directory);
        let credits = match olds.first() {
            Some(old) if !adopted => Some(upgrade::copy_services(&mut dataplane, old)),
            _ => None,
        };
        let fresh = !adopted && olds.len() == 1;
        let mut copies: Vec<_> = olds
            .iter()
            .map(|old| upgrade::Copies::of(old, fresh))
            .collect();
        for copy in &mut copies {
            copy.begin(&mut dataplane)?;
        }
        dataplane.ready();
        // Whoever took over and did not come to the end left it.
        dataplane.settings()?.takeover_until.store(0);
        for old in &olds {
            upgrade::set_takeover(&dataplane, old, true);
        }
        let attached = dataplane.attach(director.attach, interfaces, &facts);
        // The old programs have run to the end by now: what they made last is copied too. Also if not all were
        // replaced, since some were.
        let copied: Result<(), _> = copies
            .iter_mut()
            .try_for_each(|copy| copy.finish(&mut dataplane));
        for old in &olds {
            upgrade::set_takeover(&dataplane, old, false);
        }
        attached?;
        copied?;
        if let (Some(credits), Some(old)) = (credits, olds.first()) {
            credits.settle(&dataplane.maps, old);
        }
        let upgraded = upgrade::adoption(&copies);
        drop(copies);
        let adoption = match (adopted, olds.is_empty()) {
            (true, true) => Adoption::Adopted,
            (false, true) => Adoption::Fresh,
            (true, false) => {
                tracing::warn!(?upgraded, "an upgrade that was interrupted is finished");
                Adoption::Adopted
            }
            (false, false) => upgraded,
        };
        for other in others {
            object::remove_tree(&other).map_err(|error| {
                OpenError::kernel(format!("removing {}", other.display()), error)
            })?;
        }
        dataplane.start_detour(&directory, director.instance.as_str());
        Ok((dataplane, adoption))
    }

    /// Without the long way round everything else goes on; the packets that need it are dropped and counted.
    fn start_detour(&mut self, directory: &Path, instance: &str) {
        match Detour::start(&mut self.object, directory, self.sizes, instance) {
            Ok(detour) => self.detour = Some(detour),
            Err(error) => {
                tracing::warn!(%error, "no packet goes the long way round: fragments that come before their first are dropped");
            }
        }
    }

    /// Whether new connections are taken.
    pub fn scheduling(&self) -> bool {
        self.settings()
            .is_ok_and(|settings| settings.flags.load() & Settings::SCHEDULE != 0)
    }

    /// Sets whether new connections are taken: off is LVS's backup that only serves what it has.
    pub fn set_scheduling(&mut self, on: bool) {
        let Some(settings) = self.maps.settings.get(0) else {
            return;
        };
        let flags = settings.flags.load() & !Settings::SCHEDULE;
        settings.flags.store(if on {
            flags | Settings::SCHEDULE
        } else {
            flags
        });
    }

    /// Stops forwarding: removes programs, links, tables and pins.
    pub fn detach(mut self) -> Result<(), OpenError> {
        drop(self.detour.take());
        self.detach_local()?;
        for (interface, _) in &self.interfaces {
            attach::tc_detach(interface, &self.pins.links(), attach::TC)?;
        }
        self.pins
            .remove()
            .map_err(|error| OpenError::kernel("removing the pins", error))
    }

    /// The tick of the data path's clock, and how many of them a second has.
    pub(crate) fn clock(&self) -> (u32, u32) {
        (
            programs::clock(&self.object).map_or(0, |reading| reading.tick),
            self.ticks,
        )
    }

    fn initialise(&mut self) -> Result<(), OpenError> {
        let settings = self.settings()?;
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| OpenError::kernel("getrandom", error))?;
        for (word, bytes) in settings.hash_key.iter().zip(random.chunks_exact(4)) {
            word.store(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        settings.layout.store(rvs_abi::COPIED);
        settings.mask4.store(self.sizes.slots4 - 1);
        settings.mask6.store(self.sizes.slots6 - 1);
        settings.ticks_per_second.store(self.ticks);
        settings.quarantine.store(QUARANTINE_SECONDS * self.ticks);
        settings
            .icmp_burst
            .store(((ICMP_PER_SECOND << Settings::ICMP_WINDOW_BITS) / self.ticks).max(1));
        settings
            .flags
            .store(Settings::SCHEDULE | Settings::DEFAULTS);
        Ok(())
    }

    fn ready(&self) {
        if let Ok(settings) = self.settings() {
            settings
                .flags
                .store(settings.flags.load() | Settings::READY);
        }
    }

    pub(crate) fn settings(&self) -> Result<&Settings, OpenError> {
        self.maps
            .settings
            .get(0)
            .ok_or_else(|| OpenError::Object("no settings".to_owned()))
    }

    /// Attaches again where an interface was removed and made anew: it lost its programs with its
    /// index.
    pub(crate) fn follow_interfaces(&mut self) {
        let found = self.interfaces.iter().map(|(interface, _)| {
            let ifindex = kernel::ifindex(&interface.name).ok()?;
            Some(Interface {
                name: interface.name.clone(),
                ifindex,
            })
        });
        let Some(found) = found.collect::<Option<Vec<Interface>>>() else {
            return;
        };
        let changed =
            |((old, _), new): (&(Interface, bool), &Interface)| old.ifindex != new.ifindex;
        if !self.interfaces.iter().zip(&found).any(changed) {
            return;
        }
        let outcome =
            links::facts(&found).and_then(|facts| self.attach(self.attach, found, &facts));
        match outcome {
            Ok(()) => tracing::warn!("an interface was made anew: attached to it again"),
            Err(error) => tracing::error!(%error, "an interface was made anew"),
        }
    }

    fn attach(
        &mut self,
        attach: Attach,
        interfaces: Vec<Interface>,
        facts: &[links::Facts],
    ) -> Result<(), OpenError> {
        let links = self.pins.links();
        let mut with_xdp = Vec::new();
        for (interface, facts) in interfaces.iter().zip(facts) {
            let ingress = if facts.is_headless {
                INGRESS_L3
            } else {
                INGRESS
            };
            let tc = object::tc_program(&mut self.object, ingress)?;
            attach::tc(tc, interface, &links, attach::TC)?;
            let wanted = match attach {
                Attach::Tc => false,
                Attach::Xdp => true,
                // Virtual devices lose "checksum still to be filled in" with XDP, or gain nothing.
                Attach::Auto => !facts.is_virtual && !facts.is_headless,
            };
            if !wanted {
                continue;
            }
            let place = interface.ifindex % rvs_abi::device::DEVICES;
            if let Some(device) = self.maps.devices.get(place) {
                device.mac[0].store(u32::from_ne_bytes([
                    facts.mac[0],
                    facts.mac[1],
                    facts.mac[2],
                    facts.mac[3],
                ]));
                device.mac[1].store(u32::from(u16::from_ne_bytes([facts.mac[4], facts.mac[5]])));
                device.ifindex.store(interface.ifindex);
            }
            let xdp = object::xdp_program(&mut self.object, EXPRESS)?;
            match attach::xdp(xdp, interface, &links) {
                Ok(()) => with_xdp.push(interface.ifindex),
                Err(source) if attach == Attach::Xdp => {
                    return Err(OpenError::NoXdp {
                        interface: interface.name.clone(),
                        source,
                    });
                }
                Err(error) => {
                    tracing::info!(interface = interface.name, %error, "no native XDP here: tc alone");
                }
            }
        }
        attach::keep_only(&links, &interfaces, &with_xdp)?;
        let headless = interfaces.iter().zip(facts);
        self.headless = headless
            .filter(|(_, facts)| facts.is_headless)
            .map(|(interface, _)| interface.ifindex)
            .collect();
        self.interfaces = interfaces
            .into_iter()
            .map(|interface| {
                let xdp = with_xdp.contains(&interface.ifindex);
                (interface, xdp)
            })
            .collect();
        self.attach_local()
    }
}

/// Whether a director of these sizes is in `directory`, whole.
fn is_ready(directory: &Path, sizes: Sizes) -> Result<bool, OpenError> {
    if !directory.exists() {
        return Ok(false);
    }
    let ready = object::check(directory, sizes).is_ok()
        && Maps::open(directory)?
            .settings
            .get(0)
            .is_some_and(|settings| settings.flags.load() & Settings::READY != 0);
    if !ready {
        // A start that did not get far: nothing forwards by it.
        object::remove_tree(directory).map_err(|error| {
            OpenError::kernel(format!("removing {}", directory.display()), error)
        })?;
    }
    Ok(ready)
}

//! The BPF object: its sizes, where its maps are pinned, and loading it.
//!
//! Maps live under `<bpffs>/rvs/<instance>/<hash>/`, where the hash is that of the layout and of all
//! sizes: what has another layout or size has another directory. Links live beside, under
//! `<instance>/links/`, since they outlive a change of maps.

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapInfo, PerCpuArray, ProgramArray},
    programs::{Program, ProgramError, ProgramFd, SchedClassifier, Xdp},
};
use rvs_abi::{
    AddressKey, COUNTERS, Call, CallKey, Device, FragmentKey, FragmentNote, Locality, LocalityKey,
    Rule, Sequence, SequenceKey, Server, ServerStats, Service, ServiceKey, Settings, Slot4, Slot6,
    Word64, rule::RULES, tail,
};
use rvs_config::Director;
use rvs_core::{Flow, Intent};

use crate::{
    OpenError, localities,
    shared::{Cells, Plain, Shared},
};

/// The kernel side's object file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/rvs.bpf.o"));

/// The director's tc program.
pub(crate) const INGRESS: &str = "rvs_ingress";
/// The same for interfaces without link header.
pub(crate) const INGRESS_L3: &str = "rvs_ingress_l3";
/// The director's tc program for what the host itself sends.
pub(crate) const LOCAL: &str = "rvs_local";
/// The same for interfaces without link header.
pub(crate) const LOCAL_L3: &str = "rvs_local_l3";
/// The director's XDP program.
pub(crate) const EXPRESS: &str = "rvs_express";

/// What it goes on with for IPv6.
const EXPRESS_V6: &str = "rvs_express_v6";

/// The most services of a director.
pub(crate) const SERVICES: u32 = 16 * 1024;
/// The most real servers, over all services.
pub(crate) const SERVERS: u32 = 64 * 1024;
/// Words for lists of servers and schedulers' tables, old and new ones: 32 MiB, or 255 of mh's usual tables.
pub(crate) const MEMBERS: u32 = 4 * 1024 * 1024;
const ADDRESSES: u32 = 64 * 1024;
/// Two for each: what it has beside its counts, and what was counted when it was zeroed.
const SERVER_BASES: u32 = 2 * SERVERS;
/// The same, and two for the director itself.
const SERVICE_BASES: u32 = 2 * (SERVICES + 1);

/// How large the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// IPv4 slots, a power of two.
    pub(crate) slots4: u32,
    /// IPv6 slots, a power of two.
    pub(crate) slots6: u32,
}

impl Sizes {
    pub(crate) fn of(director: &Director) -> Self {
        Self {
            slots4: director.connections.slots(),
            slots6: director.connections_v6.slots(),
        }
    }

    /// Name, key size, value size and entries of each map.
    fn maps(self) -> [(&'static str, u32, u32, u32); 23] {
        let word = size_of::<u32>() as u32;
        let array = |name, value: usize, entries| (name, word, value as u32, entries);
        [
            array("SETTINGS", size_of::<Settings>(), 1),
            array("SLOTS4", size_of::<Slot4>(), self.slots4),
            array("SLOTS6", size_of::<Slot6>(), self.slots6),
            array("SERVICES", size_of::<Service>(), SERVICES),
            array("SERVERS", size_of::<Server>(), SERVERS),
            array("MEMBERS", size_of::<Word64>(), MEMBERS),
            array("RULES", size_of::<Rule>(), 2 * RULES),
            (
                "SERVICE_INDEX",
                size_of::<ServiceKey>() as u32,
                word,
                SERVICES,
            ),
            ("ADDRESSES", size_of::<AddressKey>() as u32, word, ADDRESSES),
            array("DEVICES", size_of::<Device>(), rvs_abi::device::DEVICES),
            array("SERVER_STATS", size_of::<ServerStats>(), SERVERS),
            array("COUNTS", size_of::<[u64; COUNTERS]>(), 1),
            array("SERVER_BASE", size_of::<ServerStats>(), SERVER_BASES),
            array("SERVICE_BASE", size_of::<ServerStats>(), SERVICE_BASES),
            // What a program leaves for the one that goes on; while programs are replaced, that may be a newer one.
            array("FLOW", size_of::<Flow>(), 1),
            array("INTENT", size_of::<Intent>(), 1),
            array("TEMPLATE_KEY", size_of::<Flow>(), 1),
            array("PROGRAMS", size_of::<u32>(), tail::PROGRAMS),
            array("EXPRESS_PROGRAMS", size_of::<u32>(), tail::PROGRAMS),
            (
                "LOCALITIES",
                size_of::<LocalityKey>() as u32,
                size_of::<Locality>() as u32,
                rvs_abi::locality::LOCALITIES,
            ),
            (
                "CALLS",
                size_of::<CallKey>() as u32,
                size_of::<Call>() as u32,
                rvs_abi::call::CALLS,
            ),
            (
                "SEQUENCES",
                size_of::<SequenceKey>() as u32,
                size_of::<Sequence>() as u32,
                rvs_abi::sequence::SEQUENCES,
            ),
            (
                "FRAGMENTS",
                size_of::<FragmentKey>() as u32,
                size_of::<FragmentNote>() as u32,
                rvs_abi::fragment::NOTES,
            ),
        ]
    }

    /// The directory's name.
    fn hash(self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(rvs_abi::LAYOUT);
        for (_, key, value, entries) in self.maps() {
            for number in [key, value, entries] {
                hash = (hash ^ u64::from(number)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }
}

/// The directories of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
}

impl Pins {
    pub(crate) fn new(bpffs: &Path, instance: &str) -> Self {
        Self {
            root: bpffs.join("rvs").join(instance),
        }
    }

    /// Where the links are.
    pub(crate) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where maps of these sizes are.
    pub(crate) fn maps(&self, sizes: Sizes) -> PathBuf {
        self.root.join(sizes.hash())
    }

    /// Directories with maps that are not in `current`.
    pub(crate) fn others(&self, current: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Vec::new();
        };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path != current && *path != self.links())
            .collect();
        found.sort();
        found
    }

    /// Removes everything of the instance.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.root)
    }
}

/// Unpins a directory's objects and removes it. What is not there is removed already.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The maps, mapped or opened.
pub(crate) struct Maps {
    pub(crate) settings: Shared<Settings>,
    pub(crate) slots4: Shared<Slot4>,
    pub(crate) slots6: Shared<Slot6>,
    pub(crate) services: Shared<Service>,
    pub(crate) servers: Shared<Server>,
    pub(crate) members: Shared<Word64>,
    pub(crate) rules: Shared<Rule>,
    pub(crate) devices: Shared<Device>,
    pub(crate) server_base: Shared<[Word64; 8]>,
    pub(crate) service_base: Shared<[Word64; 8]>,
    pub(crate) service_index: HashMap<MapData, Plain<ServiceKey>, u32>,
    pub(crate) localities: HashMap<MapData, Plain<LocalityKey>, [u32; localities::WORDS]>,
    pub(crate) addresses: HashMap<MapData, Plain<AddressKey>, u32>,
    pub(crate) server_stats: PerCpuArray<MapData, Plain<ServerStats>>,
    pub(crate) counts: PerCpuArray<MapData, Plain<[u64; COUNTERS]>>,
    pub(crate) calls: HashMap<MapData, Plain<CallKey>, Plain<Call>>,
    pub(crate) sequences: HashMap<MapData, Plain<SequenceKey>, Plain<Sequence>>,
    pub(crate) fragments: HashMap<MapData, Plain<FragmentKey>, Plain<FragmentNote>>,
}

/// Maps of which an upgrade takes something along. The others are of no use to another director: they may be of other
/// sizes, or not be there.
const COPIED: [&str; 14] = [
    "SETTINGS",
    "SLOTS4",
    "SLOTS6",
    "SERVICES",
    "SERVERS",
    "MEMBERS",
    "RULES",
    "SERVICE_INDEX",
    "SERVER_STATS",
    "SERVER_BASE",
    "SERVICE_BASE",
    "LOCALITIES",
    "CALLS",
    "SEQUENCES",
];

impl Maps {
    /// Opens pinned maps of any sizes, if their layouts are this release's.
    pub(crate) fn open(directory: &Path) -> Result<Self, OpenError> {
        let sizes = Self::sizes(directory)?;
        check(directory, sizes)?;
        Self::of(|name| MapData::from_pin(directory.join(name)).ok(), sizes)
    }

    /// Opens another director's maps of any sizes, if what an upgrade reads of them has this release's layout; the
    /// rest are those in `current`.
    pub(crate) fn open_other(directory: &Path, current: &Path) -> Result<Self, OpenError> {
        let is_copied = |name: &str| COPIED.contains(&name);
        let sizes = Self::sizes(directory)?;
        check_some(directory, sizes, is_copied)?;
        let place = |name: &str| if is_copied(name) { directory } else { current };
        let maps = Self::of(|name| MapData::from_pin(place(name).join(name)).ok(), sizes)?;
        let layout = maps.settings.get(0).map(|settings| settings.layout.load());
        if layout != Some(rvs_abi::COPIED) {
            return Err(OpenError::Foreign {
                path: directory.to_owned(),
                reason: "it is of a release with another layout".to_owned(),
            });
        }
        Ok(maps)
    }

    fn sizes(directory: &Path) -> Result<Sizes, OpenError> {
        let slots = |name: &str| {
            MapInfo::from_pin(directory.join(name))
                .map(|info| info.max_entries())
                .map_err(|error| OpenError::Foreign {
                    path: directory.join(name),
                    reason: error.to_string(),
                })
        };
        Ok(Sizes {
            slots4: slots("SLOTS4")?,
            slots6: slots("SLOTS6")?,
        })
    }

    /// Takes the maps out of a loaded object.
    fn of(mut take: impl FnMut(&str) -> Option<MapData>, sizes: Sizes) -> Result<Self, OpenError> {
        let mut data = |name: &'static str| {
            take(name).ok_or_else(|| OpenError::Object(format!("map {name} is missing")))
        };
        let wrong = |error: aya::maps::MapError| OpenError::Object(error.to_string());
        Ok(Self {
            settings: shared(&data("SETTINGS")?, 1)?,
            slots4: shared(&data("SLOTS4")?, sizes.slots4)?,
            slots6: shared(&data("SLOTS6")?, sizes.slots6)?,
            services: shared(&data("SERVICES")?, SERVICES)?,
            servers: shared(&data("SERVERS")?, SERVERS)?,
            members: shared(&data("MEMBERS")?, MEMBERS)?,
            rules: shared(&data("RULES")?, 2 * RULES)?,
            devices: shared(&data("DEVICES")?, rvs_abi::device::DEVICES)?,
            server_base: shared(&data("SERVER_BASE")?, SERVER_BASES)?,
            service_base: shared(&data("SERVICE_BASE")?, SERVICE_BASES)?,
            service_index: HashMap::try_from(Map::HashMap(data("SERVICE_INDEX")?))
                .map_err(wrong)?,
            localities: HashMap::try_from(Map::HashMap(data("LOCALITIES")?)).map_err(wrong)?,
            addresses: HashMap::try_from(Map::HashMap(data("ADDRESSES")?)).map_err(wrong)?,
            server_stats: PerCpuArray::try_from(Map::PerCpuArray(data("SERVER_STATS")?))
                .map_err(wrong)?,
            counts: PerCpuArray::try_from(Map::PerCpuArray(data("COUNTS")?)).map_err(wrong)?,
            calls: HashMap::try_from(Map::HashMap(data("CALLS")?)).map_err(wrong)?,
            sequences: HashMap::try_from(Map::LruHashMap(data("SEQUENCES")?)).map_err(wrong)?,
            fragments: HashMap::try_from(Map::LruHashMap(data("FRAGMENTS")?)).map_err(wrong)?,
        })
    }
}

/// Compares what is pinned in `directory` with what is expected there.
pub(crate) fn check(directory: &Path, sizes: Sizes) -> Result<(), OpenError> {
    check_some(directory, sizes, |_| true)
}

/// [`check`] of some maps.
fn check_some(
    directory: &Path,
    sizes: Sizes,
    is_meant: impl Fn(&str) -> bool,
) -> Result<(), OpenError> {
    let maps = sizes.maps().into_iter();
    for (name, key, value, entries) in maps.filter(|(name, ..)| is_meant(name)) {
        let path = directory.join(name);
        let foreign = |reason: String| OpenError::Foreign {
            path: path.clone(),
            reason,
        };
        let info = MapInfo::from_pin(&path).map_err(|error| foreign(error.to_string()))?;
        let found = (info.key_size(), info.value_size(), info.max_entries());
        if found != (key, value, entries) {
            return Err(foreign(format!(
                "key, value, entries are {found:?}, not {:?}",
                (key, value, entries)
            )));
        }
    }
    Ok(())
}

/// Loads the director's programs, with the maps that are pinned in `directory` or with new ones pinned
/// there. (Programs first: they name maps by descriptors, which close when the maps are taken.)
pub(crate) fn load(directory: &Path, sizes: Sizes) -> Result<(Ebpf, Maps), OpenError> {
    let mut object = prepare(directory, sizes)?;
    for name in [
        INGRESS,
        INGRESS_L3,
        LOCAL,
        LOCAL_L3,
        "rvs_sweep",
        "rvs_insert",
        "rvs_clock",
    ] {
        load_tc(&mut object, name)?;
    }
    join_programs(&mut object)?;
    load_xdp(&mut object, EXPRESS)?;
    let maps = Maps::of(|name| take(&mut object, name), sizes)?;
    Ok((object, maps))
}

fn take(object: &mut Ebpf, name: &str) -> Option<MapData> {
    let map = object.take_map(name)?;
    if let Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::PerCpuArray(data) =
        map
    {
        Some(data)
    } else {
        None
    }
}

/// Loads only the programs that user space runs itself, for a thread of its own, with the maps that are pinned in `directory`.
pub(crate) fn load_aside(directory: &Path, sizes: Sizes) -> Result<(Ebpf, Maps), OpenError> {
    let mut object = prepare(directory, sizes)?;
    for name in ["rvs_insert", "rvs_clock"] {
        load_tc(&mut object, name)?;
    }
    let maps = Maps::of(|name| take(&mut object, name), sizes)?;
    Ok((object, maps))
}

/// The object with its maps.
fn prepare(directory: &Path, sizes: Sizes) -> Result<Ebpf, OpenError> {
    let mut loader = EbpfLoader::new();
    let maps = sizes.maps();
    for (name, _, _, entries) in &maps {
        loader
            .map_max_entries(name, *entries)
            .map_pin_path(name, directory.join(name));
    }
    loader
        .load(OBJECT)
        .map_err(|error| OpenError::Object(describe(&error)))
}

/// Loads the programs that the director's programs go on with, and puts them where those find them.
pub fn join_programs(object: &mut Ebpf) -> Result<(), OpenError> {
    for (name, place) in tail::ALL {
        let program = load_tc(object, name)?
            .fd()
            .and_then(|fd| Ok(fd.try_clone()?));
        join(object, "PROGRAMS", name, place, program)?;
    }
    let program = load_xdp(object, EXPRESS_V6)?
        .fd()
        .and_then(|fd| Ok(fd.try_clone()?));
    join(
        object,
        "EXPRESS_PROGRAMS",
        EXPRESS_V6,
        tail::EXPRESS_V6,
        program,
    )
}

fn join(
    object: &mut Ebpf,
    array: &str,
    name: &'static str,
    place: u32,
    program: Result<ProgramFd, ProgramError>,
) -> Result<(), OpenError> {
    let program = program.map_err(|error| refused(name, &error))?;
    let map = object
        .map_mut(array)
        .ok_or_else(|| OpenError::Object(format!("map {array} is missing")))?;
    ProgramArray::try_from(map)
        .and_then(|mut programs| programs.set(place, &program, 0))
        .map_err(|error| OpenError::Object(error.to_string()))
}

/// Loads a tc program.
pub(crate) fn load_tc<'a>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, OpenError> {
    let program = tc_program(object, name)?;
    program.load().map_err(|error| refused(name, &error))?;
    Ok(program)
}

/// Loads an XDP program.
fn load_xdp<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, OpenError> {
    let program = xdp_program(object, name)?;
    program.load().map_err(|error| refused(name, &error))?;
    Ok(program)
}

/// A tc program that was loaded.
pub(crate) fn tc_program<'a>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, OpenError> {
    match object.program_mut(name) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => Err(OpenError::Object(format!("program {name} is missing"))),
    }
}

/// An XDP program that was loaded.
pub(crate) fn xdp_program<'a>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut Xdp, OpenError> {
    match object.program_mut(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => Err(OpenError::Object(format!("program {name} is missing"))),
    }
}

fn refused(name: &'static str, error: &ProgramError) -> OpenError {
    let reason = if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        let log = verifier_log.to_string();
        let numbers = |line: &&str| {
            ["processed", "stack", "verification"]
                .iter()
                .any(|word| line.starts_with(word))
        };
        let words = log
            .lines()
            .rev()
            .find(|line| !numbers(line) && !line.is_empty());
        format!(
            "{io_error}: {}",
            words.unwrap_or("no word from the verifier")
        )
    } else {
        error.to_string()
    };
    OpenError::Program { name, reason }
}

fn shared<T: Cells>(data: &MapData, entries: u32) -> Result<Shared<T>, OpenError> {
    Shared::map(data.fd().as_fd(), entries)
        .map_err(|error| OpenError::kernel("mapping a BPF array", error))
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

//! The maps, and `rvs-core`'s tables bound to them.
//!
//! Arrays are mmapable: the daemon reads them without a system call, and their values begin at a
//! page, so that a slot is a cache line. User space sets the sizes at load.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, xdp_md},
    helpers::generated::{bpf_get_prandom_u32, bpf_jiffies64, bpf_loop},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    programs::{TcContext, XdpContext},
};
use rvs_abi::{
    AddressKey, COUNTERS, Call, CallKey, Counter, Device, FragmentKey, FragmentNote, Locality,
    LocalityKey, Rule, Sequence, SequenceKey, Server, ServerStats, Service, ServiceKey, Settings,
    Slot4, Slot6, Word32, Word64, device, locality, sweep::Insertion,
};
use rvs_core::{
    Flow, Intent,
    sip::text::{Letters, MESSAGE_MAX},
    tables::{Step, Traffic},
};

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static SLOTS4: Array<Slot4> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static SLOTS6: Array<Slot6> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static SERVICES: Array<Service> = Array::with_max_entries(1024, BPF_F_MMAPABLE);
#[map]
static SERVERS: Array<Server> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
/// Lists of server indexes, and tables. A value of less than eight bytes would take eight all the same, and the mapping shows them.
#[map]
static MEMBERS: Array<Word64> = Array::with_max_entries(16384, BPF_F_MMAPABLE);
#[map]
static RULES: Array<Rule> = Array::with_max_entries(2 * rvs_abi::rule::RULES, BPF_F_MMAPABLE);
#[map]
static SERVICE_INDEX: HashMap<ServiceKey, u32> = HashMap::with_max_entries(1024, 0);
#[map]
static ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(16384, 0);
#[map]
static DEVICES: Array<Device> = Array::with_max_entries(device::DEVICES, BPF_F_MMAPABLE);
#[map]
static SERVER_STATS: PerCpuArray<ServerStats> = PerCpuArray::with_max_entries(4096, 0);
#[map]
static COUNTS: PerCpuArray<[u64; COUNTERS]> = PerCpuArray::with_max_entries(1, 0);
/// [`Locality`] as words, allocated as needed: services of lblc and lblcr are few, their addresses many.
#[map]
static LOCALITIES: HashMap<LocalityKey, [u32; LOCALITY_WORDS]> =
    HashMap::with_max_entries(locality::LOCALITIES, BPF_F_NO_PREALLOC);
/// One that is being made, off the stack: see [`FLOW`].
#[map]
static NEW_LOCALITY: PerCpuArray<[u32; LOCALITY_WORDS]> = PerCpuArray::with_max_entries(1, 0);
const LOCALITY_WORDS: usize = size_of::<Locality>() / 4;
/// Not read by any program: what statistics were at their last zeroing, for user space.
#[map]
static SERVER_BASE: Array<ServerStats> = Array::with_max_entries(4096, BPF_F_MMAPABLE);
#[map]
static SERVICE_BASE: Array<ServerStats> = Array::with_max_entries(1024, BPF_F_MMAPABLE);

/// What first fragments leave for the later ones.
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentNote> =
    LruHashMap::with_max_entries(rvs_abi::fragment::NOTES, 0);

/// How the sequence numbers of some connections are adjusted; the daemon writes it.
#[map]
static SEQUENCES: LruHashMap<SequenceKey, Sequence> =
    LruHashMap::with_max_entries(rvs_abi::sequence::SEQUENCES, 0);

/// The calls of the SIP engine's templates, allocated as needed.
#[map]
static CALLS: HashMap<CallKey, Call> =
    HashMap::with_max_entries(rvs_abi::call::CALLS, BPF_F_NO_PREALLOC);
/// One that is being read, off the stack: see [`FLOW`].
#[map]
static NEW_CALL: PerCpuArray<Call> = PerCpuArray::with_max_entries(1, 0);
/// The beginning of the message that it is read from.
#[map]
static MESSAGE: PerCpuArray<[u64; MESSAGE_WORDS]> = PerCpuArray::with_max_entries(1, 0);
/// One more than there are, so that a run may begin at any letter.
const MESSAGE_WORDS: usize = MESSAGE_MAX as usize / 8 + 1;
/// What a client would have sent to get a server's message for an answer: see [`FLOW`].
#[map]
static TURNED: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// The flow of the packet at hand, off the stack. Programs of one CPU do not interrupt each other
/// where they use it: all run with softirqs off, and a packet that one sends on runs its next program after it.
#[map]
static FLOW: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// What was decided about a new connection: see [`FLOW`].
#[map]
static INTENT: PerCpuArray<Intent> = PerCpuArray::with_max_entries(1, 0);

/// What a persistence template is found by: see [`FLOW`].
#[map]
static TEMPLATE_KEY: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);

/// The connection that user space asks to insert, off the stack. One thread of the daemon asks at a time.
#[map]
static INSERTION: PerCpuArray<Insertion> = PerCpuArray::with_max_entries(1, 0);

/// The programs of the packet's way that others go on with, at the places of [`rvs_abi::tail`].
#[map]
static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(rvs_abi::tail::PROGRAMS, 0);

/// The same for XDP.
#[map]
static EXPRESS_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(rvs_abi::tail::PROGRAMS, 0);

/// The tables, as the maps hold them.
pub struct Maps;

macro_rules! reference {
    ($map:expr, $index:expr) => {
        match $map.get_ptr($index) {
            // SAFETY: the kernel gave the pointer for this map's value; maps outlive programs, and all
            // fields are cells.
            Some(pointer) => Some(unsafe { &*pointer }),
            None => None,
        }
    };
}

#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    reference!(SETTINGS, 0)
}

#[inline(always)]
pub fn new_flow(network: u32, flags: u8) -> Option<&'static mut Flow> {
    let flow = FLOW.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's, and no other reference to it is alive.
    let flow = unsafe { &mut *flow };
    *flow = Flow {
        network,
        flags,
        ..Flow::default()
    };
    Some(flow)
}

/// The flow that the program before this one has filled.
#[inline(always)]
pub fn flow() -> Option<&'static mut Flow> {
    let flow = FLOW.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut *flow })
}

#[inline(always)]
pub fn new_intent() -> Option<&'static mut Intent> {
    let intent = INTENT.get_ptr_mut(0)?;
    // SAFETY: as above.
    let intent = unsafe { &mut *intent };
    *intent = Intent::NEW;
    Some(intent)
}

/// What the program before this one has decided.
#[inline(always)]
pub fn intent() -> Option<&'static mut Intent> {
    let intent = INTENT.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut *intent })
}

#[inline(always)]
pub fn cleared_key() -> Option<&'static mut Flow> {
    let key = TEMPLATE_KEY.get_ptr_mut(0)?;
    // SAFETY: as above.
    let key = unsafe { &mut *key };
    *key = Flow::default();
    Some(key)
}

#[inline(always)]
pub fn cleared_turned() -> Option<&'static mut Flow> {
    let flow = TURNED.get_ptr_mut(0)?;
    // SAFETY: as above.
    let flow = unsafe { &mut *flow };
    *flow = Flow::default();
    Some(flow)
}

/// The call that is being read.
#[inline(always)]
pub fn call() -> Option<&'static mut Call> {
    let call = NEW_CALL.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut *call })
}

/// Keeps the call that was read; whether there was room.
#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be copied to the stack"
)]
pub fn keep_call(key: &CallKey) -> bool {
    call().is_some_and(|call| CALLS.insert(key, &*call, 0).is_ok())
}

/// Where a message is read into.
#[inline(always)]
pub fn message() -> Option<Message> {
    MESSAGE.get_ptr_mut(0).map(|place| Message(place.cast()))
}

/// The beginning of a message.
pub struct Message(pub *mut u8);

impl Letters for Message {
    /// Masked as in [`spill`].
    #[inline(always)]
    fn letter(&self, place: u32) -> u8 {
        const _: () = assert!(MESSAGE_MAX == 4096);
        let mut place = u64::from(place);
        // SAFETY: arithmetic on a register; the place is below the map value's size.
        unsafe {
            asm!("{0} &= 4095", inout(reg) place);
            *self.0.add(place as usize)
        }
    }

    /// Not aligned, which the machine can read, but the language only letter by letter.
    #[inline(always)]
    fn run(&self, place: u32) -> u64 {
        let mut place = u64::from(place);
        let letters: u64;
        // SAFETY: as above; a word more is there.
        unsafe {
            asm!("{0} &= 4095", inout(reg) place);
            let start = self.0.add(place as usize);
            asm!("{0} = *(u64 *)({1} + 0)", out(reg) letters, in(reg) start, options(nostack, pure, readonly));
        }
        letters
    }
}

#[inline(always)]
pub fn insertion() -> Option<&'static mut Insertion> {
    let insertion = INSERTION.get_ptr_mut(0)?;
    // SAFETY: as above.
    Some(unsafe { &mut *insertion })
}

/// Goes on with the program at `place`, which takes this one's stead; comes back only where there is none.
#[inline(always)]
pub fn go_on(context: *mut __sk_buff, place: u32) {
    let context = TcContext::new(context);
    // SAFETY: nothing here needs dropping.
    unsafe { PROGRAMS.tail_call(&context, place) };
}

/// [`go_on`] for XDP.
#[inline(always)]
pub fn go_on_express(context: *mut xdp_md, place: u32) {
    let context = XdpContext::new(context);
    // SAFETY: nothing here needs dropping.
    unsafe { EXPRESS_PROGRAMS.tail_call(&context, place) };
}

#[inline(always)]
pub fn service(index: u32) -> Option<&'static Service> {
    reference!(SERVICES, index)
}

#[inline(always)]
pub fn server(index: u32) -> Option<&'static Server> {
    reference!(SERVERS, index)
}

#[inline(always)]
pub fn rule(place: u32) -> Option<&'static Rule> {
    reference!(RULES, place)
}

#[inline(always)]
pub fn member_word(place: u32) -> Option<u64> {
    let word: Option<&Word64> = reference!(MEMBERS, place);
    word.map(Word64::load)
}

#[inline(always)]
pub fn slot4(index: u32) -> Option<&'static Slot4> {
    reference!(SLOTS4, index)
}

#[inline(always)]
pub fn slot6(index: u32) -> Option<&'static Slot6> {
    reference!(SLOTS6, index)
}

#[inline(always)]
pub fn find_service(key: &ServiceKey) -> Option<u32> {
    // SAFETY: a value of four aligned bytes is read at once.
    SERVICE_INDEX.get_ptr(key).map(|value| unsafe { *value })
}

#[inline(always)]
pub fn find_address(key: &AddressKey) -> u32 {
    // SAFETY: as in `find_service`.
    ADDRESSES.get_ptr(key).map_or(0, |value| unsafe { *value })
}

#[inline(always)]
pub fn find_note(key: &FragmentKey) -> Option<FragmentNote> {
    // SAFETY: integers; one that is overwritten meanwhile is of the same packet.
    FRAGMENTS.get_ptr(key).map(|value| unsafe { *value })
}

#[inline(always)]
pub fn sequence(key: &SequenceKey) -> Option<Sequence> {
    // SAFETY: integers; an element that is replaced stays as it was for those that have it.
    SEQUENCES.get_ptr(key).map(|value| unsafe { *value })
}

#[inline(always)]
pub fn put_note(key: &FragmentKey, note: &FragmentNote) {
    // Where there is no memory, the later fragments find nothing, which is counted.
    let _ = FRAGMENTS.insert(key, note, 0);
}

#[inline(always)]
pub fn locality(key: &LocalityKey) -> Option<&'static Locality> {
    // SAFETY: as in `reference`; an entry that is deleted meanwhile stays in memory until the program ends, and
    // where it is given out anew all fields are still cells.
    LOCALITIES
        .get_ptr(key)
        .map(|words| unsafe { &*words.cast::<Locality>() })
}

#[inline(always)]
#[expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value it would be copied to the stack"
)]
pub fn remember(_maps: &Maps, flow: &Flow, service: u32, server: u32) -> u32 {
    let Some(words) = NEW_LOCALITY.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the value is this CPU's, and no other reference to it is alive; the rest of it stays zero.
    let words = unsafe { &mut *words };
    words[0] = now();
    words[1] = words[0];
    words[2] = server.wrapping_add(1);
    let key = LocalityKey {
        service,
        address: flow.destination,
    };
    u32::from(
        LOCALITIES
            .insert(&key, &*words, u64::from(BPF_NOEXIST))
            .is_ok(),
    )
}

/// One of the servers, masked as in [`spill`].
#[inline(always)]
pub fn locality_server(locality: &Locality, place: u32) -> Option<&Word32> {
    const _: () = assert!(locality::SERVERS == 16);
    let mut place = u64::from(place);
    // SAFETY: arithmetic on a register; the place is below sixteen.
    unsafe {
        asm!("{0} &= 15", inout(reg) place);
        Some(&*locality.servers.as_ptr().add(place as usize))
    }
}

/// One of four words. The mask is written in assembly, since the compiler knows that it changes
/// nothing and the verifier of Linux 6.1 does not.
#[inline(always)]
pub fn spill(words: &'static [Word32; 4], level: u32) -> Option<&'static Word32> {
    let mut place = u64::from(level);
    // SAFETY: arithmetic on a register; the place is below four.
    unsafe {
        asm!("{0} &= 3", inout(reg) place);
        Some(&*words.as_ptr().add(place as usize))
    }
}

/// Whether `mac` (first four bytes, last two) is the address of interface `ifindex`.
#[inline(always)]
pub fn is_own_mac(ifindex: u32, mac: [u32; 2]) -> bool {
    let device: Option<&Device> = reference!(DEVICES, ifindex & (device::DEVICES - 1));
    device.is_some_and(|device| {
        device.ifindex.load() == ifindex
            && device.mac[0].load() == mac[0]
            && device.mac[1].load() == mac[1]
    })
}

/// Whether the express way runs on interface `ifindex`.
#[inline(always)]
pub fn has_express(ifindex: u32) -> bool {
    let device: Option<&Device> = reference!(DEVICES, ifindex & (device::DEVICES - 1));
    device.is_some_and(|device| device.ifindex.load() == ifindex)
}

#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(counts) = COUNTS.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's; a counter's number is below COUNTERS.
        unsafe {
            let place = (counts as *mut u64).add(counter as usize);
            *place += 1;
        }
    }
}

#[inline(always)]
pub fn account(server: u32, traffic: Traffic) {
    let Some(stats) = SERVER_STATS.get_ptr_mut(server) else {
        return;
    };
    // SAFETY: the value is this CPU's.
    let stats = unsafe { &mut *stats };
    match traffic {
        Traffic::Connection => stats.connections += 1,
        Traffic::In(packets, bytes) => {
            stats.packets_in += u64::from(packets);
            stats.bytes_in += u64::from(bytes);
        }
        Traffic::Out(packets, bytes) => {
            stats.packets_out += u64::from(packets);
            stats.bytes_out += u64::from(bytes);
        }
    }
}

/// The coarse clock: jiffies. The JIT turns the helper into one load.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() as u32 }
}

#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// The same value, of which the verifier knows nothing: it does not see that `x ^ x` is zero.
#[inline(always)]
pub fn veiled(value: u32) -> u32 {
    // SAFETY: no arguments.
    let mut zero = unsafe { bpf_jiffies64() };
    // SAFETY: touches nothing but its register.
    unsafe { asm!("{0} ^= {0}", inout(reg) zero) };
    value ^ zero as u32
}

/// Implements [`Tables`] for a type by the functions above.
macro_rules! tables_by_maps {
    ($type:ty $(, $repeat:item)?) => {
        impl rvs_core::Tables for $type {
            #[inline(always)]
            fn now(&self) -> u32 {
                $crate::maps::now()
            }
            #[inline(always)]
            fn random(&self) -> u32 {
                $crate::maps::random()
            }
            #[inline(always)]
            fn veiled(&self, value: u32) -> u32 {
                $crate::maps::veiled(value)
            }
            #[inline(always)]
            fn settings(&self) -> Option<&rvs_abi::Settings> {
                $crate::maps::settings()
            }
            #[inline(always)]
            fn service(&self, index: u32) -> Option<&rvs_abi::Service> {
                $crate::maps::service(index)
            }
            #[inline(always)]
            fn server(&self, index: u32) -> Option<&rvs_abi::Server> {
                $crate::maps::server(index)
            }
            #[inline(always)]
            fn rule(&self, place: u32) -> Option<&rvs_abi::Rule> {
                $crate::maps::rule(place)
            }
            #[inline(always)]
            fn member_word(&self, place: u32) -> Option<u64> {
                $crate::maps::member_word(place)
            }
            #[inline(always)]
            fn locality(&self, key: &rvs_abi::LocalityKey) -> Option<&rvs_abi::Locality> {
                $crate::maps::locality(key)
            }
            #[inline(always)]
            fn remember(&self, flow: &rvs_core::Flow, service: u32, server: u32) -> u32 {
                $crate::stages::rvs_remember(flow, service, server)
            }
            #[inline(always)]
            fn look_at_set(
                &self,
                flow: &rvs_core::Flow,
                service: u32,
                argument: u32,
                question: u32,
            ) -> u64 {
                $crate::stages::rvs_look_at_set(flow, service, argument, question)
            }
            #[inline(always)]
            fn locality_server<'a>(
                &self,
                locality: &'a rvs_abi::Locality,
                place: u32,
            ) -> Option<&'a rvs_abi::Word32> {
                $crate::maps::locality_server(locality, place)
            }
            #[inline(always)]
            fn by_turns(&self, service: u32, avoid: u32) -> u64 {
                $crate::stages::rvs_by_turns(service, avoid)
            }
            #[inline(always)]
            fn by_load(&self, flow: &rvs_core::Flow, service: u32, avoid: u32) -> u32 {
                $crate::stages::rvs_by_load(flow, service, avoid)
            }
            #[inline(always)]
            fn by_chance(&self, service: u32, avoid: u32) -> u32 {
                $crate::stages::rvs_by_chance(service, avoid)
            }
            #[inline(always)]
            fn by_hash(&self, flow: &rvs_core::Flow, service: u32, avoid: u32) -> u32 {
                $crate::stages::rvs_by_hash(flow, service, avoid)
            }
            #[inline(always)]
            fn by_locality(&self, flow: &rvs_core::Flow, service: u32, avoid: u32) -> u32 {
                $crate::stages::rvs_by_locality(flow, service, avoid)
            }
            #[inline(always)]
            fn is_overburdened(&self, flow: &rvs_core::Flow, service: u32, index: u32) -> u32 {
                $crate::stages::rvs_is_overburdened(flow, service, index)
            }
            #[inline(always)]
            fn find_service(&self, key: &rvs_abi::ServiceKey) -> Option<u32> {
                $crate::maps::find_service(key)
            }
            #[inline(always)]
            fn find_address(&self, key: &rvs_abi::AddressKey) -> u32 {
                $crate::maps::find_address(key)
            }
            #[inline(always)]
            fn find_note(&self, key: &rvs_abi::FragmentKey) -> Option<rvs_abi::FragmentNote> {
                $crate::maps::find_note(key)
            }
            #[inline(always)]
            fn put_note(&self, key: &rvs_abi::FragmentKey, note: &rvs_abi::FragmentNote) {
                $crate::maps::put_note(key, note);
            }
            #[inline(always)]
            fn sequence(&self, key: &rvs_abi::SequenceKey) -> Option<rvs_abi::Sequence> {
                $crate::maps::sequence(key)
            }
            #[inline(always)]
            fn slot4(&self, index: u32) -> Option<&rvs_abi::Slot4> {
                $crate::maps::slot4(index)
            }
            #[inline(always)]
            fn slot6(&self, index: u32) -> Option<&rvs_abi::Slot6> {
                $crate::maps::slot6(index)
            }
            #[inline(always)]
            fn spill4(&self, level: u32) -> Option<&rvs_abi::Word32> {
                $crate::maps::spill(&$crate::maps::settings()?.spill4, level)
            }
            #[inline(always)]
            fn spill6(&self, level: u32) -> Option<&rvs_abi::Word32> {
                $crate::maps::spill(&$crate::maps::settings()?.spill6, level)
            }
            #[inline(always)]
            fn holds4(&self, record: &rvs_table::Record<1>, role: rvs_abi::Role, index: u32) -> bool {
                $crate::insertion::rvs_holds4(record, role as u32, index) != 0
            }
            #[inline(always)]
            fn hash4(&self, record: &rvs_table::Record<1>, role: rvs_abi::Role) -> rvs_table::Hash {
                rvs_table::Hash::from_bits($crate::insertion::rvs_hash4(record, role as u32))
            }
            #[inline(always)]
            fn claim4(&self, hash: rvs_table::Hash, now: u32) -> u64 {
                $crate::insertion::rvs_claim4(hash.bits(), now)
            }
            #[inline(always)]
            fn write4(&self, record: &rvs_table::Record<1>, role: rvs_abi::Role, place: u64, pair: u64) {
                $crate::insertion::rvs_write4(record, role as u32, place, pair);
            }
            #[inline(always)]
            fn look_again4(
                &self,
                record: &rvs_table::Record<1>,
                role: rvs_abi::Role,
                hash: rvs_table::Hash,
                place: u64,
            ) -> u64 {
                $crate::insertion::rvs_look_again4(record, role as u32, hash.bits(), place)
            }
            #[inline(always)]
            fn abandon4(&self, hash: rvs_table::Hash, place: u64, now: u32) {
                $crate::insertion::rvs_abandon4(hash.bits(), place, now);
            }
            #[inline(always)]
            fn holds6(&self, record: &rvs_table::Record<4>, role: rvs_abi::Role, index: u32) -> bool {
                $crate::insertion::rvs_holds6(record, role as u32, index) != 0
            }
            #[inline(always)]
            fn hash6(&self, record: &rvs_table::Record<4>, role: rvs_abi::Role) -> rvs_table::Hash {
                rvs_table::Hash::from_bits($crate::insertion::rvs_hash6(record, role as u32))
            }
            #[inline(always)]
            fn claim6(&self, hash: rvs_table::Hash, now: u32) -> u64 {
                $crate::insertion::rvs_claim6(hash.bits(), now)
            }
            #[inline(always)]
            fn write6(&self, record: &rvs_table::Record<4>, role: rvs_abi::Role, place: u64, pair: u64) {
                $crate::insertion::rvs_write6(record, role as u32, place, pair);
            }
            #[inline(always)]
            fn look_again6(
                &self,
                record: &rvs_table::Record<4>,
                role: rvs_abi::Role,
                hash: rvs_table::Hash,
                place: u64,
            ) -> u64 {
                $crate::insertion::rvs_look_again6(record, role as u32, hash.bits(), place)
            }
            #[inline(always)]
            fn abandon6(&self, hash: rvs_table::Hash, place: u64, now: u32) {
                $crate::insertion::rvs_abandon6(hash.bits(), place, now);
            }
            #[inline(always)]
            fn enter(&self, server: u32, state: u32, control: u64, words: u32) -> u32 {
                $crate::insertion::rvs_enter(server, state, control, words)
            }
            #[inline(always)]
            fn leave(&self, server: u32, state: u32, control: u64, words: u32) -> u32 {
                $crate::insertion::rvs_leave(server, state, control, words)
            }
            #[inline(always)]
            fn count(&self, counter: rvs_abi::Counter) {
                $crate::maps::count(counter);
            }
            #[inline(always)]
            fn account(&self, server: u32, traffic: rvs_core::tables::Traffic) {
                $crate::maps::account(server, traffic);
            }
            $($repeat)?
        }
    };
}
pub(crate) use tables_by_maps;

tables_by_maps!(
    Maps,
    #[inline(always)]
    fn repeat<S: Step<Self>>(&self, count: u32, step: &mut S) {
        let callback = match S::TOGETHER {
            1 => one_round::<S> as *mut c_void,
            2 => two_rounds::<S> as *mut c_void,
            _ => four_rounds::<S> as *mut c_void,
        };
        let calls = match S::TOGETHER {
            1 => count,
            2 => count.div_ceil(2),
            _ => count.div_ceil(4),
        };
        let mut rounds = Rounds { step, count };
        let context = core::ptr::from_mut(&mut rounds).cast();
        // SAFETY: the callback gets back the pointer to `rounds`, which lives until the helper returns.
        unsafe { bpf_loop(calls, callback, context, 0) };
    }
);

/// What the callbacks of `bpf_loop` are called with.
struct Rounds<'a, S> {
    step: &'a mut S,
    count: u32,
}

impl<S: Step<Maps>> Rounds<'_, S> {
    #[inline(always)]
    fn round(&mut self, number: u32) -> bool {
        number < self.count && self.step.step(&Maps, number)
    }
}

/// What `bpf_loop` calls: 0 goes on, 1 ends the loop.
extern "C" fn one_round<S: Step<Maps>>(number: u64, rounds: *mut c_void) -> i64 {
    // SAFETY: `repeat` passed a pointer to live `Rounds`, and the verifier knows where it points.
    let rounds = unsafe { &mut *rounds.cast::<Rounds<'_, S>>() };
    i64::from(!rounds.step.step(&Maps, number as u32))
}

/// As [`one_round`], two at a time.
extern "C" fn two_rounds<S: Step<Maps>>(number: u64, rounds: *mut c_void) -> i64 {
    // SAFETY: as above.
    let rounds = unsafe { &mut *rounds.cast::<Rounds<'_, S>>() };
    let first = (number as u32).wrapping_mul(2);
    i64::from(!(rounds.round(first) && rounds.round(first.wrapping_add(1))))
}

/// As [`one_round`], four at a time. Written out, since the verifier would follow a loop of them from state to state.
extern "C" fn four_rounds<S: Step<Maps>>(number: u64, rounds: *mut c_void) -> i64 {
    // SAFETY: as above.
    let rounds = unsafe { &mut *rounds.cast::<Rounds<'_, S>>() };
    let first = (number as u32).wrapping_mul(4);
    let goes_on = rounds.round(first)
        && rounds.round(first.wrapping_add(1))
        && rounds.round(first.wrapping_add(2))
        && rounds.round(first.wrapping_add(3));
    i64::from(!goes_on)
}

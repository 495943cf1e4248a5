//! What user space hands to the programs that it runs itself (`BPF_PROG_TEST_RUN`), as the bytes of
//! a packet, and what it gets back in the same place.

/// A slice of the sweep: slots `first .. first + count` of one family are visited, last first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sweep {
    /// IP version of the table.
    pub family: u32,
    /// First slot.
    pub first: u32,
    /// How many, at most [`SWEEP_MAX`].
    pub count: u32,
    /// Number of the full sweep, written into [`crate::Server::seen`].
    pub pass: u32,
    /// Returned: live slots found.
    pub live: u32,
    /// Returned: connections that were idle for too long and died.
    pub expired: u32,
    /// Returned: connections whose server is gone and died with it.
    pub orphaned: u32,
    /// Returned: dead slots that became empty.
    pub cleared: u32,
    /// Returned: dead slots that remain.
    pub dead: u32,
    /// [`Sweep::DEFEND`].
    pub flags: u32,
    /// Returned: connections and templates that the defence dropped.
    pub dropped: u32,
    /// The reserved rest.
    pub spare: [u32; 5],
}

impl Sweep {
    /// The defence `drop_entry` looks at these slots.
    pub const DEFEND: u32 = 1;
}

/// The most slots in one slice: a quarter of a millisecond.
pub const SWEEP_MAX: u32 = 32 * 1024;

/// A connection to be inserted as it is (upgrade, sync).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Insertion {
    /// Client's address. Packet byte order, IPv4 in the first word.
    pub client: [u32; 4],
    /// Virtual service's address.
    pub virtual_address: [u32; 4],
    /// Client's port, then the virtual service's, as they lie in a request.
    pub ports: u32,
    /// Index of the real server.
    pub server: u32,
    /// Protocol number.
    pub protocol: u32,
    /// IP version.
    pub family: u32,
    /// [`crate::slot::State`] as a number.
    pub state: u32,
    /// The tick of the connection's last packet.
    pub stamp: u32,
    /// Returned: 1 inserted, 2 was there already, 0 refused.
    pub outcome: u32,
    /// Packets seen so far.
    pub packets: u32,
    /// The server's port as it lies in a packet, where it is another than the server's own; else 0.
    pub server_port: u32,
    /// The firewall mark that scheduled it.
    pub mark: u32,
    /// The sequence adjustment of requests, then of replies: first number that it concerns, what is added
    /// from there on, what is added before.
    pub sequence: [u32; 6],
    /// Index of the slot that controls it, where [`crate::slot::State::CONTROLLED`] is set.
    pub control: u32,
    /// That slot's generation.
    pub control_generation: u32,
    /// How it is forwarded ([`crate::slot::Link::method`]), plus 1; 0 is as its server is now.
    pub method: u32,
    /// 1 where the table that it comes from was copied before, and forwarded until now: what that copy brought and
    /// goes to another server gives way.
    pub late: u32,
    /// The reserved rest.
    pub spare: [u32; 4],
}

const _: () = assert!(size_of::<Insertion>() == 128);

/// What the clock program answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClockReading {
    /// The tick that programs see now.
    pub tick: u32,
    /// Zero.
    pub zero: u32,
    /// `CLOCK_MONOTONIC` in nanoseconds at the same moment.
    pub monotonic: u64,
    /// The reserved rest, so that the bytes pass for a frame.
    pub spare: [u64; 6],
}

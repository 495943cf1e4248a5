//! What holds for the whole director: hash keys, table sizes, time-outs, and the table's few shared
//! counters. One entry of one array; the read-mostly part and the written part on lines of their own.

use crate::Word32;

/// Levels of windows in the connection table.
pub const LEVELS: usize = 4;

/// TCP's states, numbered as on the sync wire (`IP_VS_TCP_S_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum TcpState {
    /// No state yet.
    None = 0,
    /// Established.
    Established = 1,
    /// SYN sent.
    SynSent = 2,
    /// SYN received.
    SynRecv = 3,
    /// FIN wait.
    FinWait = 4,
    /// Time wait.
    TimeWait = 5,
    /// Closed.
    Close = 6,
    /// Close wait.
    CloseWait = 7,
    /// Last ACK.
    LastAck = 8,
    /// Listen.
    Listen = 9,
    /// SYN and ACK seen, handshake not completed.
    SynAck = 10,
}

impl TcpState {
    /// Every state, in order of its number.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::SynAck,
    ];

    /// The name that ipvsadm prints.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::SynAck => "SYNACK",
        }
    }
}

/// SCTP's states, numbered as on the sync wire (`IP_VS_SCTP_S_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum SctpState {
    /// No state yet.
    None = 0,
    /// A first INIT was seen.
    Init1 = 1,
    /// INIT seen.
    Init = 2,
    /// The server sent COOKIE ECHO.
    CookieSent = 3,
    /// The client sent COOKIE ECHO.
    CookieReplied = 4,
    /// INIT ACK awaited.
    CookieWait = 5,
    /// Cookie.
    Cookie = 6,
    /// COOKIE ECHO seen.
    CookieEchoed = 7,
    /// Established.
    Established = 8,
    /// The server sent SHUTDOWN.
    ShutdownSent = 9,
    /// The client sent SHUTDOWN.
    ShutdownReceived = 10,
    /// SHUTDOWN ACK seen.
    ShutdownAckSent = 11,
    /// Rejected.
    Rejected = 12,
    /// Closed.
    Closed = 13,
}

impl SctpState {
    /// Every state, in order of its number.
    pub const ALL: [Self; 14] = [
        Self::None,
        Self::Init1,
        Self::Init,
        Self::CookieSent,
        Self::CookieReplied,
        Self::CookieWait,
        Self::Cookie,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownReceived,
        Self::ShutdownAckSent,
        Self::Rejected,
        Self::Closed,
    ];

    /// The name that ipvsadm prints (`net/netfilter/ipvs/ip_vs_proto_sctp.c`, `sctp_state_name_table`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Init1 => "INIT1",
            Self::Init => "INIT",
            Self::CookieSent => "C-SENT",
            Self::CookieReplied => "C-REPLIED",
            Self::CookieWait => "C-WAIT",
            Self::Cookie => "COOKIE",
            Self::CookieEchoed => "C-ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "S-SENT",
            Self::ShutdownReceived => "S-RECEIVED",
            Self::ShutdownAckSent => "S-ACK-SENT",
            Self::Rejected => "REJECTED",
            Self::Closed => "CLOSED",
        }
    }
}

/// Entries of [`Settings::timeouts`]: TCP's states at their numbers, UDP, and SCTP's states behind them.
pub const TIMEOUTS: usize = 32;
/// Where UDP's time-out lies in [`Settings::timeouts`].
pub const UDP_TIMEOUT: usize = 11;
/// Where SCTP's first time-out lies in [`Settings::timeouts`].
pub const SCTP_TIMEOUT: usize = 12;

/// The director's settings: 320 bytes.
#[cfg_attr(not(target_arch = "bpf"), derive(Debug, Default))]
#[repr(C)]
pub struct Settings {
    /// SipHash keys of the connection table: k0 low, k0 high, k1 low, k1 high.
    pub hash_key: [Word32; 4],
    /// IPv4 slots less one (a power of two less one).
    pub mask4: Word32,
    /// IPv6 slots less one.
    pub mask6: Word32,
    /// Ticks for which a dead slot is neither reused nor cleared.
    pub quarantine: Word32,
    /// [`Settings::SCHEDULE`] and others.
    pub flags: Word32,
    /// Ticks in a second.
    pub ticks_per_second: Word32,
    /// ICMP errors that the director may send in a window of [`Settings::ICMP_WINDOW_BITS`].
    pub icmp_burst: Word32,
    /// drop_packet: one scheduling attempt in so many is dropped; 0 is none, 1 is all.
    pub drop_rate: Word32,
    /// Tick until which `drop_rate` counts; 0 is for ever. A daemon that called it up has to say so again and again.
    pub drop_until: Word32,
    /// Ticks after which lblcr takes a server away from a set that did not change.
    pub lblcr_expiration: Word32,
    /// The daemon's device for packets that go the long way round; 0 is none.
    pub detour_ifindex: Word32,
    /// Tick until which the daemon is known to read from it.
    pub detour_until: Word32,
    /// The list of match rules: see [`crate::rule::of_list`].
    pub rules: Word32,
    /// Idle time-outs in ticks.
    pub timeouts: [Word32; TIMEOUTS],

    /// How many live IPv4 slots lie in windows of each level; the first level's are not counted.
    pub spill4: [Word32; LEVELS],
    /// The same for IPv6.
    pub spill6: [Word32; LEVELS],
    /// drop_packet: scheduling attempts since the last that was dropped.
    pub drop_counter: Word32,
    /// Tick until which connections are on their way from, or to, another director's maps: who is not known may be so
    /// in a moment, and is dropped, not left to the host, which would end the connection. 0 is not at all. Who copies them
    /// has to say so again and again.
    pub takeover_until: Word32,
    /// [`crate::COPIED`] of whoever made the tables.
    pub layout: Word32,
    written_spare: [Word32; 5],

    /// The window that `icmp_sent` counts.
    pub icmp_window: Word32,
    /// ICMP errors sent in that window.
    pub icmp_sent: Word32,
    icmp_spare: [Word32; 14],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Settings>() == 320);

impl Settings {
    /// New connections are scheduled; without it only those that exist are served ("inactive here").
    pub const SCHEDULE: u32 = 1;
    /// The maps were filled; without it they are a start that did not get far.
    pub const READY: u32 = 2;
    /// `expire_nodest_conn`: a packet of a connection whose server was removed ends it, and is scheduled afresh.
    pub const EXPIRE_NODEST: u32 = 8;
    /// `expire_quiescent_template`: a template of a server with weight 0 counts no more.
    pub const EXPIRE_QUIESCENT: u32 = 16;
    /// `sloppy_tcp`: any segment but a reset begins a connection.
    pub const SLOPPY_TCP: u32 = 32;
    /// `sloppy_sctp`: any packet but an abort begins an association.
    pub const SLOPPY_SCTP: u32 = 64;
    /// `cache_bypass`.
    pub const CACHE_BYPASS: u32 = 128;
    /// `nat_icmp_send`.
    pub const NAT_ICMP_SEND: u32 = 256;
    /// `schedule_icmp`.
    pub const SCHEDULE_ICMP: u32 = 512;
    /// `secure_tcp` is in force.
    pub const SECURE_TCP: u32 = 1024;
    /// `pmtu_disc`: tunnels copy DF.
    pub const PMTU_DISC: u32 = 2048;
    /// `snat_reroute`: a reply is routed with the virtual address as its source.
    pub const SNAT_REROUTE: u32 = 4096;
    /// `ignore_tunneled`.
    pub const IGNORE_TUNNELED: u32 = 8192;
    /// Some service is one of a firewall mark.
    pub const HAS_MARKS: u32 = 1 << 14;
    /// Some service is one of any port.
    pub const HAS_ANY_PORT: u32 = 1 << 15;
    /// Some service is FTP's (TCP port 21).
    pub const HAS_FTP: u32 = 1 << 16;
    /// Some match rule gives packets a firewall mark.
    pub const HAS_RULES: u32 = 1 << 17;
    /// Connections without client port may be waiting (FTP).
    pub const HAS_EXPECTED: u32 = 1 << 18;
    /// `conn_reuse_mode` bit 1: a closed connection makes way for a new one with the same ports.
    pub const REUSE: u32 = 1 << 19;
    /// `conn_reuse_mode` bit 2: so does one in FIN_WAIT of which the director sees only requests.
    pub const REUSE_FIN_WAIT: u32 = 1 << 20;
    /// `drop_entry` is not off: where a new connection finds no room, half-open ones make way.
    pub const DROP_ENTRY: u32 = 1 << 21;
    /// Some service is persistent by Call-ID.
    pub const HAS_SIP: u32 = 1 << 22;
    /// What is set where nothing else was said.
    pub const DEFAULTS: u32 = Self::EXPIRE_NODEST
        | Self::EXPIRE_QUIESCENT
        | Self::REUSE
        | Self::REUSE_FIN_WAIT
        | Self::PMTU_DISC
        | Self::SNAT_REROUTE;
    /// 2 to the power of this many ticks share one allowance of ICMP errors: a tick may be as short as
    /// a millisecond, and errors come in crowds.
    pub const ICMP_WINDOW_BITS: u32 = 6;
}

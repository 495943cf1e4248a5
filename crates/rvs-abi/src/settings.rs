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

/// Entries of [`Settings::timeouts`]: TCP's states at their numbers, UDP behind them.
pub const TIMEOUTS: usize = 16;
/// Where UDP's time-out lies in [`Settings::timeouts`].
pub const UDP_TIMEOUT: usize = 11;

/// The director's settings: 256 bytes.
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
    read_spare: [Word32; 6],
    /// Idle time-outs in ticks.
    pub timeouts: [Word32; TIMEOUTS],

    /// How many live IPv4 slots lie in windows of each level; the first level's are not counted.
    pub spill4: [Word32; LEVELS],
    /// The same for IPv6.
    pub spill6: [Word32; LEVELS],
    written_spare: [Word32; 8],

    /// The window that `icmp_sent` counts.
    pub icmp_window: Word32,
    /// ICMP errors sent in that window.
    pub icmp_sent: Word32,
    icmp_spare: [Word32; 14],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Settings>() == 256);

impl Settings {
    /// New connections are scheduled; without it only those that exist are served ("inactive here").
    pub const SCHEDULE: u32 = 1;
    /// The maps were filled; without it they are a start that did not get far.
    pub const READY: u32 = 2;
    /// Connections are on their way from, or to, another director's maps: who is not known may be so
    /// in a moment, and is dropped, not left to the host, which would end the connection.
    pub const TAKEOVER: u32 = 4;
    /// 2 to the power of this many ticks share one allowance of ICMP errors: a tick may be as short as
    /// a millisecond, and errors come in crowds.
    pub const ICMP_WINDOW_BITS: u32 = 6;
}

//! ipvsadm's words: every command and option with its spellings, and which option goes with which command.

use super::popt::{Argument, Entry};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    AddService,
    EditService,
    DeleteService,
    Flush,
    List,
    AddServer,
    EditServer,
    DeleteServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
}

impl Action {
    #[cfg(test)]
    pub(super) const ALL: [Action; 14] = [
        Action::AddService,
        Action::EditService,
        Action::DeleteService,
        Action::Flush,
        Action::List,
        Action::AddServer,
        Action::EditServer,
        Action::DeleteServer,
        Action::Set,
        Action::StartDaemon,
        Action::StopDaemon,
        Action::Restore,
        Action::Save,
        Action::Zero,
    ];

    /// What messages call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Action::AddService => "add-service",
            Action::EditService => "edit-service",
            Action::DeleteService => "delete-service",
            Action::Flush => "flush",
            Action::List => "list",
            Action::AddServer => "add-server",
            Action::EditServer => "edit-server",
            Action::DeleteServer => "delete-server",
            Action::Set => "set",
            Action::StartDaemon => "start-daemon",
            Action::StopDaemon => "stop-daemon",
            Action::Restore => "restore",
            Action::Save => "save",
            Action::Zero => "zero",
        }
    }
}

/// What can be said only once, in the order in which ipvsadm checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Numeric,
    Connection,
    ServiceAddress,
    Scheduler,
    Persistent,
    Netmask,
    RealServer,
    Forwarding,
    Weight,
    UpperThreshold,
    LowerThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    NoSort,
    SyncId,
    Exact,
    Ops,
    Pe,
    SchedFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNoCsum,
    TunCsum,
    TunRemCsum,
}

/// An option of the command line, besides the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Action(Action),
    Help,
    Version,
    TcpService,
    UdpService,
    SctpService,
    FwmarkService,
    Ipv6,
    Gatewaying,
    Ipip,
    Masquerading,
    /// Accepted for old scripts; listings are sorted anyway.
    Sort,
    Item(Item),
}

impl Item {
    /// Every item, in the order in which ipvsadm checks.
    pub(super) const ALL: [Item; 34] = [
        Item::Numeric,
        Item::Connection,
        Item::ServiceAddress,
        Item::Scheduler,
        Item::Persistent,
        Item::Netmask,
        Item::RealServer,
        Item::Forwarding,
        Item::Weight,
        Item::UpperThreshold,
        Item::LowerThreshold,
        Item::McastInterface,
        Item::Timeout,
        Item::Daemon,
        Item::Stats,
        Item::Rate,
        Item::Thresholds,
        Item::PersistentConn,
        Item::NoSort,
        Item::SyncId,
        Item::Exact,
        Item::Ops,
        Item::Pe,
        Item::SchedFlags,
        Item::McastGroup,
        Item::McastPort,
        Item::McastTtl,
        Item::SyncMaxlen,
        Item::TunInfo,
        Item::TunType,
        Item::TunPort,
        Item::TunNoCsum,
        Item::TunCsum,
        Item::TunRemCsum,
    ];

    /// What messages call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Item::Numeric => "numeric",
            Item::Connection => "connection",
            Item::ServiceAddress => "service-address",
            Item::Scheduler => "scheduler",
            Item::Persistent => "persistent",
            Item::Netmask => "netmask",
            Item::RealServer => "real-server",
            Item::Forwarding => "forwarding-method",
            Item::Weight => "weight",
            Item::UpperThreshold => "u-threshold",
            Item::LowerThreshold => "l-threshold",
            Item::McastInterface => "mcast-interface",
            Item::Timeout => "timeout",
            Item::Daemon => "daemon",
            Item::Stats => "stats",
            Item::Rate => "rate",
            Item::Thresholds => "thresholds",
            Item::PersistentConn => "persistent-conn",
            Item::NoSort => "nosort",
            Item::SyncId => "syncid",
            Item::Exact => "exact",
            Item::Ops => "ops",
            Item::Pe => "pe",
            Item::SchedFlags => "sched-flags",
            Item::TunInfo => "tun-info",
            Item::TunType => "tun-type",
            Item::TunPort => "tun-port",
            Item::TunNoCsum => "tun-nocsum",
            Item::TunCsum => "tun-csum",
            Item::TunRemCsum => "tun-remcsum",
            Item::SyncMaxlen => "sync-maxlen",
            Item::McastGroup => "mcast-group",
            Item::McastPort => "mcast-port",
            Item::McastTtl => "mcast-ttl",
        }
    }
}

/// How an item goes with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Illegal,
    Optional,
    Required,
    /// Optional, but only one of the items with this mark.
    Exclusive,
}

/// ipvsadm's matrix of commands and items.
pub(super) fn rule(action: Action, item: Item) -> Rule {
    let (required, optional, exclusive): (&[Item], &[Item], &[Item]) = match action {
        Action::AddService | Action::EditService => (
            &[Item::ServiceAddress],
            &[
                Item::Scheduler,
                Item::Persistent,
                Item::Netmask,
                Item::Ops,
                Item::Pe,
                Item::SchedFlags,
            ],
            &[],
        ),
        Action::DeleteService => (&[Item::ServiceAddress], &[], &[]),
        Action::AddServer | Action::EditServer => (
            &[Item::ServiceAddress, Item::RealServer],
            &[
                Item::Forwarding,
                Item::Weight,
                Item::UpperThreshold,
                Item::LowerThreshold,
                Item::TunType,
                Item::TunPort,
                Item::TunNoCsum,
                Item::TunCsum,
                Item::TunRemCsum,
            ],
            &[],
        ),
        Action::DeleteServer => (&[Item::ServiceAddress, Item::RealServer], &[], &[]),
        Action::List => (
            &[],
            &[
                Item::Numeric,
                Item::Stats,
                Item::Rate,
                Item::Thresholds,
                Item::PersistentConn,
                Item::NoSort,
                Item::SyncId,
                Item::Exact,
                Item::TunInfo,
            ],
            &[
                Item::Connection,
                Item::ServiceAddress,
                Item::Timeout,
                Item::Daemon,
            ],
        ),
        Action::Save => (&[], &[Item::Numeric], &[]),
        Action::Zero => (&[], &[Item::ServiceAddress], &[]),
        Action::StartDaemon => (
            &[],
            &[
                Item::McastInterface,
                Item::SyncId,
                Item::SyncMaxlen,
                Item::McastGroup,
                Item::McastPort,
                Item::McastTtl,
            ],
            &[],
        ),
        Action::StopDaemon => (&[], &[Item::SyncId], &[]),
        Action::Flush | Action::Restore | Action::Set => (&[], &[], &[]),
    };
    if required.contains(&item) {
        Rule::Required
    } else if optional.contains(&item) {
        Rule::Optional
    } else if exclusive.contains(&item) {
        Rule::Exclusive
    } else {
        Rule::Illegal
    }
}

/// Every spelling.
pub(super) static WORDS: [Entry<Word>; 58] = [
    plain("add-service", Some('A'), Word::Action(Action::AddService)),
    plain("edit-service", Some('E'), Word::Action(Action::EditService)),
    plain(
        "delete-service",
        Some('D'),
        Word::Action(Action::DeleteService),
    ),
    plain("clear", Some('C'), Word::Action(Action::Flush)),
    plain("list", Some('L'), Word::Action(Action::List)),
    Entry {
        long: None,
        short: Some('l'),
        argument: Argument::None,
        id: Word::Action(Action::List),
    },
    plain("zero", Some('Z'), Word::Action(Action::Zero)),
    plain("add-server", Some('a'), Word::Action(Action::AddServer)),
    plain("edit-server", Some('e'), Word::Action(Action::EditServer)),
    plain(
        "delete-server",
        Some('d'),
        Word::Action(Action::DeleteServer),
    ),
    plain("set", None, Word::Action(Action::Set)),
    plain("restore", Some('R'), Word::Action(Action::Restore)),
    plain("save", Some('S'), Word::Action(Action::Save)),
    valued("start-daemon", None, Word::Action(Action::StartDaemon)),
    valued("stop-daemon", None, Word::Action(Action::StopDaemon)),
    plain("help", Some('h'), Word::Help),
    plain("version", Some('v'), Word::Version),
    valued("tcp-service", Some('t'), Word::TcpService),
    valued("udp-service", Some('u'), Word::UdpService),
    valued("sctp-service", None, Word::SctpService),
    valued("fwmark-service", Some('f'), Word::FwmarkService),
    plain("ipv6", Some('6'), Word::Ipv6),
    valued("scheduler", Some('s'), Word::Item(Item::Scheduler)),
    Entry {
        long: Some("persistent"),
        short: Some('p'),
        argument: Argument::Optional,
        id: Word::Item(Item::Persistent),
    },
    valued("netmask", Some('M'), Word::Item(Item::Netmask)),
    valued("real-server", Some('r'), Word::Item(Item::RealServer)),
    plain("gatewaying", Some('g'), Word::Gatewaying),
    plain("ipip", Some('i'), Word::Ipip),
    plain("masquerading", Some('m'), Word::Masquerading),
    valued("weight", Some('w'), Word::Item(Item::Weight)),
    valued("u-threshold", Some('x'), Word::Item(Item::UpperThreshold)),
    valued("l-threshold", Some('y'), Word::Item(Item::LowerThreshold)),
    plain("numeric", Some('n'), Word::Item(Item::Numeric)),
    plain("connection", Some('c'), Word::Item(Item::Connection)),
    valued("mcast-interface", None, Word::Item(Item::McastInterface)),
    valued("syncid", None, Word::Item(Item::SyncId)),
    plain("timeout", None, Word::Item(Item::Timeout)),
    plain("daemon", None, Word::Item(Item::Daemon)),
    plain("stats", None, Word::Item(Item::Stats)),
    plain("rate", None, Word::Item(Item::Rate)),
    plain("thresholds", None, Word::Item(Item::Thresholds)),
    plain("persistent-conn", None, Word::Item(Item::PersistentConn)),
    plain("nosort", None, Word::Item(Item::NoSort)),
    plain("sort", None, Word::Sort),
    plain("exact", Some('X'), Word::Item(Item::Exact)),
    plain("ops", Some('o'), Word::Item(Item::Ops)),
    valued("pe", None, Word::Item(Item::Pe)),
    valued("sched-flags", Some('b'), Word::Item(Item::SchedFlags)),
    plain("tun-info", None, Word::Item(Item::TunInfo)),
    valued("tun-type", None, Word::Item(Item::TunType)),
    valued("tun-port", None, Word::Item(Item::TunPort)),
    plain("tun-nocsum", None, Word::Item(Item::TunNoCsum)),
    plain("tun-csum", None, Word::Item(Item::TunCsum)),
    plain("tun-remcsum", None, Word::Item(Item::TunRemCsum)),
    valued("sync-maxlen", None, Word::Item(Item::SyncMaxlen)),
    valued("mcast-group", None, Word::Item(Item::McastGroup)),
    valued("mcast-port", None, Word::Item(Item::McastPort)),
    valued("mcast-ttl", None, Word::Item(Item::McastTtl)),
];

const fn plain(long: &'static str, short: Option<char>, id: Word) -> Entry<Word> {
    Entry {
        long: Some(long),
        short,
        argument: Argument::None,
        id,
    }
}

const fn valued(long: &'static str, short: Option<char>, id: Word) -> Entry<Word> {
    Entry {
        long: Some(long),
        short,
        argument: Argument::Required,
        id,
    }
}

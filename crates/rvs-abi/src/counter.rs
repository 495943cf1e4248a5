//! The counters: one for every reason to drop, pass, answer or fall back. Command line, metrics,
//! documents and tests print from this one list.

/// What became of the packet that a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went on to the host's own stack, unchanged.
    Pass,
    /// It was dropped.
    Drop,
    /// It was answered by the director.
    Answer,
    /// It went on by the way that was meant; the counter only notes something about it.
    Note,
}

macro_rules! counters {
    ($($name:ident, $text:literal, $verdict:ident, $help:literal;)*) => {
        /// A reason, and the place of its count.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Counter {
            $(#[doc = $help] $name,)*
        }

        impl Counter {
            /// Every counter, in order of its place.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that users see.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What became of the packet.
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// One sentence for users.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

counters! {
    PassOther, "pass_other", Pass, "Not IPv4 or IPv6, or a protocol that is not switched.";
    PassTagged, "pass_tagged", Pass, "VLAN-tagged; the VLAN device sees it again.";
    PassNoService, "pass_no_service", Pass, "No virtual service at this address and port.";
    PassNoConnection, "pass_no_connection", Pass, "For a virtual service, but of no known connection and not the beginning of one.";
    PassIcmp, "pass_icmp", Pass, "ICMP that is no error, or an error about no known connection.";
    PassFragment, "pass_fragment", Pass, "A fragment that concerns no virtual service.";
    PassLocal, "pass_local", Pass, "Delivered to the director itself, which is the real server.";
    PassMalformed, "pass_malformed", Pass, "A transport header that contradicts itself or ends too early; left to the host.";
    PassBypass, "pass_bypass", Pass, "A firewall-mark service without a server let a new connection go on to where it was going (cache_bypass).";
    PassTunneled, "pass_tunneled", Pass, "A new connection that left another tunnel on this host (ignore_tunneled).";
    DropMalformed, "drop_malformed", Drop, "An IP header that contradicts itself or ends too early.";
    DropMartian, "drop_martian", Drop, "A source address that cannot be a client's.";
    DropFragment, "drop_fragment", Drop, "A fragment to or from a virtual service, of which the first was not seen, or not understood.";
    DropNoDestination, "drop_no_destination", Drop, "No server of the service takes connections.";
    DropTableFull, "drop_table_full", Drop, "No room for a new connection.";
    DropReplyTaken, "drop_reply_taken", Drop, "Every eligible server already has a connection with this client address and port.";
    DropInsertRace, "drop_insert_race", Drop, "The same connection was being made on another CPU; the client will repeat.";
    DropNoRoute, "drop_no_route", Drop, "No route to the next hop.";
    DropNoRoom, "drop_no_room", Drop, "The packet could not be changed (memory, or a layout the kernel refuses).";
    DropTtl, "drop_ttl", Drop, "Time to live used up, and no answer was due.";
    DropTooBig, "drop_too_big", Drop, "Larger than the path's MTU, and no answer was due.";
    DropTakeover, "drop_takeover", Drop, "Of no known connection or client, while an older director's are being taken over; it will be repeated.";
    DropProgram, "drop_program", Drop, "The program that goes on with such packets is missing.";
    DropDefence, "drop_defence", Drop, "A new connection that the defence drop_packet refused.";
    DropServerGone, "drop_server_gone", Drop, "The connection's server was removed, and the connection waits for its return (expire_nodest_conn off).";
    DropNoConnection, "drop_no_connection", Drop, "A NAT server's packet of no known connection, while the server is told so (nat_icmp_send).";
    DropInactive, "drop_inactive", Drop, "A new connection while the director is inactive.";
    AnswerTooBig, "answer_too_big", Answer, "Larger than the path's MTU: fragmentation needed, or packet too big, was sent.";
    AnswerTtl, "answer_ttl", Answer, "Time to live used up: time exceeded was sent.";
    AnswerUnreachable, "answer_unreachable", Answer, "No server of the service takes connections: port unreachable was sent.";
    IcmpLimited, "icmp_limited", Note, "An ICMP error was due, but the limit was reached.";
    IcmpForward, "icmp_forward", Note, "An ICMP error was followed to its connection.";
    PathMtu, "path_mtu", Note, "A router on the way to a tunnel's server said how much the way takes: less than was known.";
    IpsecForward, "ipsec_forward", Note, "An AH or ESP packet went with the key exchange of its addresses.";
    DirectReply, "direct_reply", Note, "A direct-routing or tunnel server's reply came through the director.";
    LocalReply, "local_reply", Note, "A reply from a server, or to a client, on the director itself.";
    Reused, "reused", Note, "A closed connection made way for a new one with the same ports.";
    ServerGone, "server_gone", Note, "The connection's server was removed, and the connection with it.";
    TemplateInvalid, "template_invalid", Note, "A persistence template's server was removed, or takes no new connections; the client is scheduled anew.";
    Rescheduled, "rescheduled", Note, "Another server was chosen, since the first already had a connection with this client address and port.";
    Spilled, "spilled", Note, "The connection's first window was full; it went to a later one.";
    MadeRoom, "made_room", Note, "An idle or closed connection, or with drop_entry a half-open one, ended early, since the table was full where a new one was to go.";
    DropFtp, "drop_ftp", Drop, "What an FTP control connection says needs the daemon, which is away; it will be repeated.";
    DropSequence, "drop_sequence", Drop, "How the connection's sequence numbers are adjusted is no longer known.";
    FtpDetour, "ftp_detour", Note, "What an FTP control connection says named an address and was given to the daemon.";
    DropNoCall, "drop_no_call", Drop, "A datagram for a service that is persistent by Call-ID, without a Call-ID that could be read.";
    CallStarted, "call_started", Note, "A real server's SIP message of no known connection went out by its call.";
    CallUnnamed, "call_unnamed", Note, "A call's template was made, but there was no room to keep its Call-ID for listings.";
    FtpData, "ftp_data", Note, "A passive FTP data connection that was expected began.";
    FragmentForward, "fragment_forward", Note, "A later fragment of a packet went the way of the first.";
    FragmentDetour, "fragment_detour", Note, "A fragment that came before its first was given to the daemon to wait for it.";
    CutDetour, "cut_detour", Note, "An IPv4 packet that was too long for its way, and may be fragmented, was given to the daemon, which does so.";
    TunnelUnchecked, "tunnel_unchecked", Note, "The outer checksum that a tunnel should have was left out: a super-packet, or one without a checksum of its own.";
    NeighbourUnknown, "neighbour_unknown", Note, "XDP left the packet to tc, since the next hop's address was not known.";
}

/// How many counters there are.
pub const COUNTERS: usize = Counter::ALL.len();

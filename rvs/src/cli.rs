//! The command line's grammar. What the commands do is elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rvs_config::{InterfaceName, Method, Name, Scheduler, ServiceKey, Tunnel, Weight};

/// RVS, the Rust Virtual Server: layer-4 load balancing in the kernel.
#[derive(Debug, Parser)]
#[command(name = "rvs", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print the API's JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Which director of this machine (or RVS_INSTANCE)
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) instance: Option<Name>,
    /// The director's socket (or RVS_SOCKET)
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a director in the foreground
    Run(Run),
    /// Check a configuration file and touch nothing
    Check {
        /// The configuration file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Speak ipvsadm's command line
    #[command(disable_help_flag = true)]
    Ipvsadm(Words),
    /// Print the table as ipvsadm-save does
    #[command(disable_help_flag = true)]
    IpvsadmSave(Words),
    /// Clear the table and read another from standard input, as ipvsadm-restore does
    #[command(disable_help_flag = true)]
    IpvsadmRestore(Words),
    /// Prepare this host to be a real server, or undo that
    Realserver(crate::realserver::Args),
    /// Look for what would keep a director or a real server from working
    Doctor(crate::doctor::Args),
    /// Watch services, servers and moving counters
    Top(crate::top::Args),
    /// Print what a shell needs to complete these commands
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: crate::completions::Shell,
    },
    #[command(flatten)]
    Ask(Ask),
}

/// What only the tool itself understands.
#[derive(Debug, Args)]
pub(crate) struct Words {
    /// The tool's own words, as after its name
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORDS"
    )]
    pub(crate) words: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file [default: /etc/rvs/NAME.toml if there, else /etc/rvs/rvs.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Take traffic from this interface instead of the configuration's (may be repeated)
    #[arg(long = "interface", value_name = "NAME")]
    pub(crate) interfaces: Vec<InterfaceName>,
}

/// What is asked of a director that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Ask {
    /// How the director is
    Status,
    /// The virtual services
    Services,
    /// The real servers
    Servers {
        /// Only this service's, by address or name
        service: Option<String>,
    },
    /// The connections
    Connections {
        /// How many at most
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Only this service's, by address or name
        #[arg(long)]
        service: Option<String>,
    },
    /// Counters, and statistics of services and servers
    Stats {
        /// Also the counters that are 0
        #[arg(long)]
        all: bool,
    },
    /// What happened lately
    Events {
        /// And what happens from now on
        #[arg(long)]
        follow: bool,
    },
    /// Take new connections, or only serve those there are
    Scheduling {
        /// On or off
        #[arg(value_name = "STATE")]
        state: Switch,
    },
    /// The time-outs, or set some until the next reload or start
    Timeouts {
        /// Like tcp.established=1h
        #[arg(value_name = "NAME=TIME", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// The knobs, or turn some until the next reload or start
    Knobs {
        /// Like drop_entry=1, or drop_entry=default
        #[arg(value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// Add, change or remove a virtual service
    #[command(subcommand)]
    Service(Service),
    /// Add, change, drain or remove a real server
    #[command(subcommand)]
    Server(Server),
    /// Zero the statistics of a service, or all
    Zero {
        /// The service, by address or name
        service: Option<String>,
    },
    /// Read the configuration again
    Reload,
    /// Stop the daemon; forwarding goes on unless told otherwise
    Stop {
        /// Stop forwarding too, and forget all connections
        #[arg(long)]
        stop_forwarding: bool,
        /// Go on forwarding, whatever the configuration's forwarding_on_stop says
        #[arg(long, conflicts_with = "stop_forwarding")]
        keep_forwarding: bool,
    },
}

/// A switch's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Add a virtual service
    Add {
        #[arg(help = "Like tcp://10.0.0.100:80, udp://[2001:db8::1]:53 or fwmark://7")]
        address: ServiceKey,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// The forwarding method of its servers: nat, tunnel or direct
        #[arg(long, short, default_value_t)]
        method: Method,
        /// A real server to begin with (may be repeated)
        #[arg(long = "server", value_name = "ADDRESS")]
        servers: Vec<String>,
        #[command(flatten)]
        options: ServiceOptions,
    },
    /// Change a virtual service
    Set {
        /// By address or name
        service: String,
        #[command(flatten)]
        options: ServiceOptions,
    },
    /// Remove a virtual service and its servers
    Remove {
        /// By address or name
        service: String,
    },
}

/// How a service treats its clients. What is not given is the default, or stays.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ServiceOptions {
    /// rr, wrr, lc, wlc (the default), dh, sh, lblc, lblcr, sed, nq, mh, fo, ovf, twos or none
    #[arg(long, short)]
    pub(crate) scheduler: Option<Scheduler>,
    /// The scheduler's flags, like sh-port,sh-fallback; or none
    #[arg(long, short = 'b', value_name = "FLAGS")]
    pub(crate) flags: Option<String>,
    /// Clients come back to the same server within this time [300s if without]; or none
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, default_missing_value = "300s")]
    pub(crate) persistence: Option<String>,
    /// Which clients are one to persistence: 255.255.255.0 or /24, for IPv6 /64; or none
    #[arg(long, short = 'M', value_name = "MASK")]
    pub(crate) netmask: Option<String>,
    /// What tells the clients of persistence apart: sip; or none
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// Schedule every datagram anew (=no to undo)
    #[arg(long, short, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) one_packet: Option<bool>,
    /// Let the UDP flows of a removed server go to another at once (=no to undo)
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "yes", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) move_udp: Option<bool>,
    /// A time-out of its own, like tcp.established=1h or udp=default (may be repeated)
    #[arg(long = "timeout", value_name = "NAME=TIME", value_parser = setting)]
    pub(crate) timeouts: Vec<(String, String)>,
    /// For a firewall mark: packets that belong to it, like tcp://10.0.0.0/24:80-90 (may be repeated); or none
    #[arg(long = "match", value_name = "RULE")]
    pub(crate) rules: Vec<String>,
}

/// What a real server has besides address and method. What is not given is the default, or stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ServerOptions {
    /// Its share; 0 for no new connections
    #[arg(long, short, allow_negative_numbers = true)]
    pub(crate) weight: Option<Weight>,
    /// For the method tunnel: ipip, gue:PORT, gue:PORT:csum, gue:PORT:remcsum, gre or gre:csum
    #[arg(long)]
    pub(crate) tunnel: Option<Tunnel>,
    /// With so many connections it takes no more; 0 for no limit
    #[arg(long, short = 'x', value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=i64::from(rvs_config::Thresholds::MAX)))]
    pub(crate) upper_threshold: Option<u32>,
    /// With fewer connections it takes them again; 0 for three quarters of the upper threshold
    #[arg(long, short = 'y', value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(..=i64::from(rvs_config::Thresholds::MAX)))]
    pub(crate) lower_threshold: Option<u32>,
}

/// A name and what it is set to.
fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Server {
    /// Add a real server to a service
    Add {
        /// The service, by address or name
        service: String,
        /// Like 10.1.0.21:80, or 10.1.0.21 for the service's port
        server: String,
        /// nat, tunnel or direct [default: that of the service's other servers, or direct]
        #[arg(long, short)]
        method: Option<Method>,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Change a real server
    Set {
        /// The service, by address or name
        service: String,
        /// The server
        server: String,
        /// nat, tunnel or direct
        #[arg(long, short)]
        method: Option<Method>,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Give a real server no new connections; those it has go on
    Drain {
        /// The service, by address or name
        service: String,
        /// The server
        server: String,
    },
    /// Remove a real server from a service
    Remove {
        /// The service, by address or name
        service: String,
        /// The server
        server: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn json_is_asked_for_before_or_after() {
        for line in ["rvs --json status", "rvs status --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert!(cli.global.json, "{line}");
        }
    }

    #[test]
    fn ipvsadm_keeps_its_words() {
        for line in ["-h", "-Ln --stats", "-A -t 10.0.0.1:80 -s rr", "--help", ""] {
            let words = ["rvs", "--instance", "two", "ipvsadm"]
                .into_iter()
                .chain(line.split_whitespace());
            let cli = Cli::try_parse_from(words).expect(line);
            let Command::Ipvsadm(Words { words }) = cli.command else {
                panic!("{line}");
            };
            assert_eq!(words.join(" ".as_ref()), *line);
            assert_eq!(cli.global.instance, "two".parse().ok());
        }
    }
}

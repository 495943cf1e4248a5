//! `ipvsadm`'s commands: what they print, and what they refuse.

use anyhow::Result;

use super::{at, service};
use crate::packet::Packet;
use crate::place::{client, vip};
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) fn all() -> Vec<Scenario> {
    vec![
        Scenario::new("listings", "every form of -L, and -S", listings),
        Scenario::new("listings-names", "without -n", names),
        Scenario::new("restore", "-S into -R gives the same", restore),
        Scenario::new("refusals", "commands that make no sense", refusals),
        Scenario::new("edits", "-E, -e, -d, -D, -C", edits).in_guest_too(),
    ]
}

const TABLE: &str = "-A -t 10.0.0.100:80 -s rr
-a -t 10.0.0.100:80 -r 10.1.0.22:8080 -m -w 3
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -m
-A -t 10.0.0.100:443 -s wlc
-a -t 10.0.0.100:443 -r 10.1.0.21:443 -g -w 0
-a -t 10.0.0.100:443 -r 10.1.0.22:443 -i -w 65535
-A -u 10.0.0.101:53 -s wrr
-a -u 10.0.0.101:53 -r 10.1.0.21:53 -g -w 7
-A -t [2001:db8::100]:80 -s lc
-a -t [2001:db8::100]:80 -r [2001:db8:1::21]:80 -m
-A -u 10.0.0.100:53
";

fn listings(stage: &mut Stage<'_>) -> Result<()> {
    stage.admin("-L -n")?;
    stage.admin("-L -n -c")?;
    stage.setup(TABLE)?;
    stage.choices(
        "connections",
        &[
            Packet::tcp(at(client(2), 4001), at(vip(100), 80), "S"),
            Packet::tcp(at(client(2), 4002), at(vip(100), 80), "S"),
            Packet::udp(at(client(2), 4001), at(vip(101), 53)),
        ],
    )?;
    for words in [
        "-L -n",
        "-ln",
        "-L -n --thresholds",
        "-L -n --persistent-conn",
        "-L -n --tun-info",
        "-L -n --sort",
        "-L -n -t 10.0.0.100:80",
        "-L -n -u 10.0.0.101:53 --thresholds",
        "-L -n -t [2001:db8::100]:80",
        "-L -n --timeout",
        "-S -n",
    ] {
        stage.admin(words)?;
    }
    stage.stats("-L -n --stats")?;
    stage.connections("at the end")?;
    Ok(())
}

fn names(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(TABLE)?;
    stage.admin("-L")?;
    stage.admin("-S")?;
    stage.admin("-L --stats")?;
    Ok(())
}

fn restore(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(TABLE)?;
    let saved = stage.admin("-S -n")?;
    stage.admin("-C")?;
    stage.admin("-L -n")?;
    stage.restore("-R", &saved)?;
    stage.admin("-L -n")?;
    stage.restore(
        "-R",
        "-A -t 10.0.0.102:80 -s rr\nnonsense\n-A -t 10.0.0.103:80 -s rr\n",
    )?;
    stage.restore("-R", "ipvsadm -A -t 10.0.0.104:80 -s rr\n\n# a remark\n")?;
    stage.admin("-L -n")?;
    Ok(())
}

fn refusals(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(&service("-t 10.0.0.100:80", "rr", "-m", &[1]))?;
    for words in [
        "-A -t 10.0.0.100:80 -s rr",
        "-A -t 10.0.0.102:80 -s nonesuch",
        "-A -t 10.0.0.102",
        "-A -t 10.0.0.102:99999",
        "-A -t nowhere.invalid:80",
        "-E -t 10.0.0.102:80 -s rr",
        "-D -t 10.0.0.102:80",
        "-a -t 10.0.0.102:80 -r 10.1.0.21:80 -m",
        "-a -t 10.0.0.100:80 -r 10.1.0.21:80 -m",
        "-a -t 10.0.0.100:80 -r 10.1.0.22:80 -m -w -1",
        "-a -t 10.0.0.100:80 -m",
        "-a -t 10.0.0.100:80 -r [2001:db8:1::21]:80 -m",
        "-e -t 10.0.0.100:80 -r 10.1.0.29:80 -m",
        "-d -t 10.0.0.100:80 -r 10.1.0.29:80",
        "-L -n -t 10.0.0.102:80",
        "-Z -t 10.0.0.102:80",
        "-A -s rr",
        "-A -D -t 10.0.0.100:80",
        "-L --set 1 2 3",
        "--set 1 2",
        "--set -1 2 3",
        "-A -t 10.0.0.102:80 -s rr -b sh-port",
        "-A -t 10.0.0.102:80 -w 3",
        "-d -t 10.0.0.100:80 -r 10.1.0.21:80 -w 3",
        "-L -c --stats",
        "-X",
    ] {
        stage.admin(words)?;
    }
    stage.admin("-L -n")?;
    Ok(())
}

fn edits(stage: &mut Stage<'_>) -> Result<()> {
    stage.setup(TABLE)?;
    for words in [
        "-E -t 10.0.0.100:80 -s wlc",
        "-e -t 10.0.0.100:80 -r 10.1.0.21:80 -g -w 9",
        "-e -t 10.0.0.100:80 -r 10.1.0.22:8080 -m",
        "-d -t 10.0.0.100:443 -r 10.1.0.21:443",
        "-D -u 10.0.0.101:53",
        "-L -n",
        "-C",
        "-L -n",
    ] {
        stage.admin(words)?;
    }
    Ok(())
}

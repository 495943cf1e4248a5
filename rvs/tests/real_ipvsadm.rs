//! The ipvsadm front end beside the real ipvsadm and the kernel's own IPVS, which the guest has: what one saves the
//! other restores, every option, both ways, and both list it alike.

mod common;

use std::io::Write;
use std::process::{Output, Stdio};

use common::{Director, Outcome, RVS, text};
use rvs_lab::{Host, Lab};

/// Every option that a saved table can have, but thresholds, and twos, which the guest's kernel lacks.
const EVERYTHING: &str = "\
-A -t 10.0.0.100:80 -s wlc
-a -t 10.0.0.100:80 -r 10.1.0.21:8080 -m -w 5
-a -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 0
-a -t 10.0.0.100:80 -r 10.1.0.23:80 -i -w 2147483647 --tun-type ipip
-A -t 10.0.0.101:0 -s rr -p 600 -M 255.255.255.0
-a -t 10.0.0.101:0 -r 10.1.0.21:0 -m -w 1
-A -t 10.0.0.101:443 -s sh -b sh-fallback,sh-port
-A -t 10.0.0.101:444 -s mh -p 2592000 -b mh-fallback,mh-port
-a -t 10.0.0.101:444 -r 10.1.0.21:444 -i -w 1 --tun-type ipip
-a -t 10.0.0.101:444 -r 10.1.0.22:444 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
-a -t 10.0.0.101:444 -r 10.1.0.23:444 -i -w 1 --tun-type gue --tun-port 65535 --tun-remcsum
-a -t 10.0.0.101:444 -r 10.1.0.24:444 -i -w 1 --tun-type gue --tun-port 1 --tun-csum
-a -t 10.0.0.101:444 -r 10.1.0.25:444 -i -w 1 --tun-type gre --tun-nocsum
-a -t 10.0.0.101:444 -r 10.1.0.26:444 -i -w 1 --tun-type gre --tun-csum
-A -t 10.0.0.102:80 -s lc -b flag-1,flag-2,flag-3
-A -t 10.0.0.103:80 -s wrr
-A -t 10.0.0.104:80 -s lblc
-A -t 10.0.0.105:80 -s lblcr
-A -t 10.0.0.106:80 -s sed
-A -t 10.0.0.107:80 -s nq
-A -t 10.0.0.108:80 -s fo
-A -t 10.0.0.109:80 -s ovf
-A -t 10.0.0.110:80 -s none
-A -u 10.0.0.100:53 -s rr -o
-A -u 10.0.0.101:5060 -s rr -p 60 -M 0.0.0.0 --pe sip -o
-A --sctp-service 10.0.0.100:3868 -s wrr
-a --sctp-service 10.0.0.100:3868 -r 10.1.0.21:3868 -m -w 1
-A -t [2001:db8::1]:80 -s dh -p 300 -M 64
-a -t [2001:db8::1]:80 -r 10.1.0.21:80 -i -w 1 --tun-type ipip
-a -t [2001:db8::1]:80 -r [2001:db8:1::21]:80 -g -w 1
-A -f 100 -s lc
-a -f 100 -r 10.1.0.21:0 -m -w 1
-a -f 100 -r 10.1.0.22:81 -g -w 2
-a -f 100 -r 10.1.0.23:82 -m -w 3
-A -f 101 -6 -s lblc -p 360 -M 1
-a -f 101 -6 -r [2001:db8:1::21]:0 -m -w 1
-A -f 2147483647 -s wlc -p 1 -M 255.0.255.0 -o
";

/// The thresholds, which only RVS saves.
const LIMITED: [(&str, &str); 2] = [
    ("-r 10.1.0.21:8080 -m -w 5", " -x 100 -y 50"),
    ("-r 10.1.0.23:82 -m -w 3", " -x 2147483647"),
];

/// One of the two: its output on both, if it says nothing else.
struct Side<'a> {
    host: &'a Host,
    words: Vec<String>,
}

impl Side<'_> {
    fn run(&self, line: &str, stdin: &str) -> Outcome<Output> {
        let (program, before) = self.words.split_first().ok_or("no program")?;
        let mut child = self
            .host
            .command(program)
            .args(before)
            .args(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().ok_or("no input")?;
        input.write_all(stdin.as_bytes())?;
        drop(input);
        Ok(child.wait_with_output()?)
    }

    fn says(&self, line: &str, stdin: &str) -> Outcome<String> {
        let output = self.run(line, stdin)?;
        let error = text(&output.stderr);
        if !output.status.success() || !error.is_empty() {
            return Err(format!("{:?} {line}: {}: {error}", self.words, output.status).into());
        }
        Ok(text(&output.stdout))
    }

    fn restore(&self, table: &str) -> Outcome {
        assert_eq!(self.says("-C", "")?, "");
        assert_eq!(self.says("-R", table)?, "");
        Ok(())
    }
}

/// Without the first line, which tells the size of the connection table.
fn rows(listing: &str) -> &str {
    listing.split_once('\n').map_or("", |(_, rows)| rows)
}

#[test]
#[ignore = "needs the kernel's own IPVS, which the guest has"]
fn what_one_saves_the_other_restores() -> Outcome {
    let lab = Lab::new()?;
    let (host, peer) = (lab.host("director")?, lab.host("peer")?);
    lab.link(&host, "eth0", &peer, "eth0")?;
    host.add_address("eth0", "10.1.0.1/16")?;
    host.add_address("eth0", "2001:db8:1::1/64")?;
    let settings = "interfaces = [\"eth0\"]\nconnections = \"4Ki\"\nconnections_v6 = \"4Ki\"";
    let mut director = Director::start(&host, settings, "")?;
    let socket = director.socket().display().to_string();
    let ours = Side {
        host: &host,
        words: [RVS, "--socket", &socket, "ipvsadm"]
            .map(str::to_owned)
            .into(),
    };
    let real = Side {
        host: &host,
        words: vec!["ipvsadm".to_owned()],
    };

    // The real one's into ours.
    real.restore(EVERYTHING)?;
    let saved = real.says("-Sn", "")?;
    assert_eq!(saved, EVERYTHING, "the original keeps all of it");
    ours.restore(&saved)?;
    assert_eq!(ours.says("-Sn", "")?, saved);
    ours.restore(&real.says("-S", "")?)?;
    assert_eq!(ours.says("-Sn", "")?, saved);

    // Ours, with thresholds, into the real one.
    let limited = LIMITED
        .iter()
        .fold(saved.clone(), |saved, (server, limits)| {
            saved.replace(server, &format!("{server}{limits}"))
        });
    assert_ne!(limited, saved);
    ours.restore(&limited)?;
    let own = ours.says("-Sn", "")?;
    assert_eq!(own, limited);
    real.restore(&own)?;
    assert_eq!(real.says("-Sn", "")?, saved);
    for listing in [
        "-Ln",
        "-L",
        "-Ln --thresholds",
        "-Ln --tun-info",
        "-Ln --persistent-conn",
        "-Ln --stats",
        "-Ln --rate --exact",
        "-Lnc",
        "-Lnc --persistent-conn",
    ] {
        let (own, real) = (ours.says(listing, "")?, real.says(listing, "")?);
        assert_eq!(rows(&own), rows(&real), "{listing}");
    }
    for listing in [
        "-Ln -f 101 -6",
        "-Ln -u 10.0.0.101:5060",
        "-Ln --tun-info -t 10.0.0.101:444",
    ] {
        assert_eq!(
            ours.says(listing, "")?,
            real.says(listing, "")?,
            "{listing}"
        );
    }
    real.restore(&ours.says("-S", "")?)?;
    assert_eq!(real.says("-Sn", "")?, saved);

    // The companions.
    for side in [&ours, &real] {
        let (program, before) = side.words.split_last().ok_or("no words")?;
        let companion = |name: &str| Side {
            host: &host,
            words: before
                .iter()
                .cloned()
                .chain([format!("{program}-{name}")])
                .collect(),
        };
        let table = companion("save").says("-n", "")?;
        let commented = format!("# a comment\n{table}");
        assert_eq!(companion("restore").says("", &commented)?, "");
        assert_eq!(companion("save").says("-n", "")?, table);
    }

    // What each refuses, in the same words.
    for line in [
        "-A -t 10.0.0.100:80",
        "-A -t 10.0.0.100:80 -s nosuch",
        "-A -t 10.0.0.99:80 -s nosuch",
        "-A -u 10.0.0.99:80 -p --pe nosuch",
        "-E -t 10.0.0.99:80",
        "-E -t 10.0.0.100:80 -s nosuch",
        "-D -f 99",
        "-a -f 99 -r 10.1.0.21",
        "-a -f 100 -r 10.1.0.21",
        "-a -f 100 -r 10.1.0.99 -x 1 -y 2",
        "-e -f 100 -r 10.1.0.99",
        "-e -f 100 -r 10.1.0.99 -y 2",
        "-d -f 100 -r 10.1.0.99",
        "-a -f 100 -r 224.0.0.1",
        "-a -f 100 -r [2001:db8::1] -m",
        "-Z -f 99",
        "-L -f 99",
    ] {
        let (own, real) = (ours.run(line, "")?, real.run(line, "")?);
        let both = |output: &Output| (text(&output.stdout), text(&output.stderr), output.status);
        assert_eq!(both(&own), both(&real), "{line}");
    }
    director.terminate()
}

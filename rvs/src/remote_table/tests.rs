//! ipvsadm's commands against a served director.

use super::*;
use crate::ipvsadm;
use crate::served::{Served, connection};
use rvs_control::forwarding::Connection;
use rvs_control::memory::Memory;

/// What `ipvsadm` prints on both outputs, and its exit status.
fn run(served: &Served, line: &str, stdin: &str) -> (String, u8) {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut table = RemoteTable::new(served.client.clone()).expect("table");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = ipvsadm::run(
        &words,
        &mut table,
        &mut stdin.as_bytes(),
        &mut out,
        &mut err,
    );
    out.extend(err);
    (String::from_utf8(out).expect("text"), status)
}

const SAVED: &str = "\
-A -t 10.0.0.100:80 -s wrr
-a -t 10.0.0.100:80 -r 10.1.0.21:80 -m -w 1
-a -t 10.0.0.100:80 -r 10.1.0.22:8080 -m -w 3
-A -u 10.0.0.101:53 -s rr
-a -u 10.0.0.101:53 -r 10.1.0.21:53 -g -w 0
-A -u 10.0.0.101:5060 -s sh -p 60 -M 255.255.0.0 --pe sip -o -b sh-fallback,sh-port
-A -t [2001:db8::100]:80 -s wlc
-a -t [2001:db8::100]:80 -r [2001:db8:1::21]:80 -i -w 1 --tun-type ipip
-A -f 7 -s mh -b mh-port
-a -f 7 -r 10.1.0.21:0 -i -w 1 -x 100 -y 50 --tun-type gue --tun-port 6080 --tun-remcsum
-a -f 7 -r 10.1.0.22:8080 -m -w 1 -x 9
-A -f 7 -6 -s none -p 360 -M 64
";

#[test]
fn what_is_restored_is_saved() {
    let served = Served::start("");
    assert_eq!(run(&served, "-R", SAVED), (String::new(), 0));
    assert_eq!(run(&served, "-S -n", ""), (SAVED.to_owned(), 0));
    assert_eq!(run(&served, "-C", ""), (String::new(), 0));
    assert_eq!(run(&served, "-S -n", ""), (String::new(), 0));
}

#[test]
fn refusals_have_ipvsadms_words() {
    let served = Served::start("");
    assert_eq!(run(&served, "-R", SAVED), (String::new(), 0));
    for (line, message) in [
        ("-A -t 10.0.0.100:80", "Service already exists"),
        (
            "-A -t 10.0.0.9:80 -s nosuch",
            "Scheduler or persistence engine not found",
        ),
        ("-E -t 10.0.0.9:80 -s rr", "No such service"),
        ("-D -t 10.0.0.9:80", "No such service"),
        ("-a -t 10.0.0.9:80 -r 10.1.0.21", "Service not defined"),
        (
            "-a -t 10.0.0.100:80 -r 10.1.0.21 -m",
            "Destination already exists",
        ),
        ("-e -t 10.0.0.100:80 -r 10.1.0.99 -m", "No such destination"),
        ("-d -t 10.0.0.100:80 -r 10.1.0.99", "No such destination"),
        ("-Z -t 10.0.0.9:80", "No such service"),
    ] {
        assert_eq!(
            run(&served, line, ""),
            (format!("{message}\n"), 255),
            "{line}"
        );
    }
    assert_eq!(run(&served, "-S -n", ""), (SAVED.to_owned(), 0));
}

/// A service's other options stay as they are.
#[test]
fn editing_leaves_what_ipvsadm_does_not_know() {
    let served = Served::start(
        "[[service]]\naddress = \"udp://10.0.0.100:53\"\nmove_udp = true\nservers = []\n",
    );
    for (line, saved) in [
        (
            "-E -u 10.0.0.100:53 -s sh -b sh-port -p 9 -o",
            "-s sh -p 9 -o -b sh-port",
        ),
        (
            "-E -u 10.0.0.100:53 -s sh -p 9 -M 255.0.0.0",
            "-s sh -p 9 -M 255.0.0.0",
        ),
        ("-E -u 10.0.0.100:53 -p", "-s wlc -p 360"),
        ("-E -u 10.0.0.100:53", "-s wlc"),
    ] {
        assert_eq!(run(&served, line, ""), (String::new(), 0), "{line}");
        let saved = format!("-A -u 10.0.0.100:53 {saved}\n");
        assert_eq!(run(&served, "-Sn", ""), (saved, 0), "{line}");
    }
    let mut table = RemoteTable::new(served.client.clone()).expect("table");
    let service = table.services().expect("services").pop().expect("one");
    assert!(service.options.move_udp);
}

#[test]
fn what_ipvs_takes_and_rvs_does_not_says_why() {
    let served = Served::start("");
    assert_eq!(run(&served, "-A -t 10.0.0.100:80", ""), (String::new(), 0));
    for (line, message) in [
        (
            "-A -t 10.0.0.101:80 -p --pe sip",
            "the persistence engine sip reads UDP, which tcp://10.0.0.101:80 does not take",
        ),
        (
            "-A -u 10.0.0.101:80 --pe sip",
            "the persistence engine sip needs persistence (-p)",
        ),
        ("-A -t 10.0.0.100:80 -p --pe sip", "Service already exists"),
        ("-E -t 10.0.0.109:80 -p --pe sip", "No such service"),
        (
            "-a -t 10.0.0.100:80 -r 10.1.0.21:0 -m",
            "port 0: the real server 10.1.0.21:0 of tcp://10.0.0.100:80 needs a port from 1 to 65535",
        ),
        (
            "-a -t 10.0.0.100:80 -r 10.1.0.21 -x 5 -y 6",
            "Numerical result out of range",
        ),
        (
            "-a -t 10.0.0.109:80 -r 10.1.0.21 -x 5 -y 6",
            "Service not defined",
        ),
    ] {
        assert_eq!(
            run(&served, line, ""),
            (format!("{message}\n"), 255),
            "{line}"
        );
    }
    assert_eq!(run(&served, "-Sn", "").0, "-A -t 10.0.0.100:80 -s wlc\n");
}

#[test]
fn listings() {
    let mut memory = Memory::new();
    let template = Connection {
        client: ([10, 0, 0, 0], 0).into(),
        state: "ASSURED",
        template: true,
        mark: 7,
        ..connection(0)
    };
    memory.connections = vec![connection(40000), template];
    let served = Served::with(memory, "");
    let restored = SAVED.lines().take(3).collect::<Vec<_>>().join("\n");
    assert_eq!(run(&served, "-R", &restored), (String::new(), 0));
    for line in [
        "-E -t 10.0.0.100:80 -s lc",
        "-e -t 10.0.0.100:80 -r 10.1.0.21 -m -w 7",
        "-d -t 10.0.0.100:80 -r 10.1.0.22:8080",
        "-Z",
        "--set 600 0 90",
    ] {
        assert_eq!(run(&served, line, ""), (String::new(), 0), "{line}");
    }
    let expected = "\
IP Virtual Server version 1.2.1 (size=1048576)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.100:80 lc
  -> 10.1.0.21:80                 Masq    7      0          0         
";
    assert_eq!(run(&served, "-Ln", ""), (expected.to_owned(), 0));
    let expected = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:53  ESTABLISHED 10.0.0.2:40000     10.0.0.100:80      10.1.0.21:80
IP  14:53  ASSURED     10.0.0.0:0         0.0.0.7:0          10.1.0.21:80
";
    assert_eq!(run(&served, "-Lnc", ""), (expected.to_owned(), 0));
    let expected = "Timeout (tcp tcpfin udp): 600 120 90\n";
    assert_eq!(run(&served, "-L --timeout", ""), (expected.to_owned(), 0));
}

#[test]
fn without_a_director() {
    let mut table = RemoteTable::new(Client::new("/nonexistent/x.sock")).expect("table");
    let mut run = |line: &str| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = ipvsadm::run(&words, &mut table, &mut &b""[..], &mut out, &mut err);
        (out.len(), String::from_utf8(err).expect("text"), status)
    };
    let (length, error, status) = run("-h");
    assert!(length > 1000 && error.is_empty() && status == 0);
    let (length, error, status) = run("-Ln");
    assert_eq!((length, status), (0, 255));
    assert!(
        error.starts_with("no director answers at /nonexistent/x.sock")
            && error.lines().count() == 1,
        "{error}"
    );
}

//! Sessions of commands that change the table, fail, or ask for what is not built yet.

use super::captures::{Step, steps, words};
use super::memory::Memory;
use super::run;

/// Replays a session. Where RVS has an answer of its own, `ours` says the message and the status.
fn replay(table: &mut Memory, steps: &[Step<'_>], ours: &[(&str, &str, u8)]) -> usize {
    let mut used = 0;
    for step in steps {
        let Some(arguments) = step.command.strip_prefix("ipvsadm") else {
            continue;
        };
        if arguments.contains(['|', ';', '>']) {
            continue;
        }
        let words = words(arguments);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let own = ours.iter().find(|(command, _, _)| *command == step.command);
        let (expected, status) = match own {
            Some(&(_, message, status)) => (message, status),
            None => (step.output, step.status),
        };
        used += usize::from(own.is_some());
        assert_eq!(
            run(table, &words, ""),
            (expected.to_owned(), status),
            "{}",
            step.command
        );
    }
    used
}

#[test]
fn errors() {
    let text = include_str!("../../../tests/ipvsadm-output/09-errors.txt");
    const DAEMON: &str = "ipvsadm: the sync daemon (--start-daemon) is not built yet\n";
    let ours = [
        (
            "ipvsadm -a -t 10.0.0.100:80 -r 10.1.0.23:8080 -m -x 10 -y 20",
            "ipvsadm: an upper threshold (-x) is not built yet\n",
            1,
        ),
        (
            "ipvsadm -a -t 10.0.0.100:80 -r [2001:db8:1::21]:80 -i",
            "ipvsadm: a tunnel to a server of another address family is not built yet\n",
            1,
        ),
        ("ipvsadm --start-daemon master", DAEMON, 1),
        (
            "ipvsadm --start-daemon master --mcast-interface eth0 --syncid 0",
            DAEMON,
            1,
        ),
        (
            "ipvsadm -L --daemon",
            "ipvsadm: the sync daemon (--daemon) is not built yet\n",
            1,
        ),
        (
            "ipvsadm --stop-daemon master",
            "ipvsadm: the sync daemon (--stop-daemon) is not built yet\n",
            1,
        ),
        (
            "ipvsadm -A -t 10.0.0.110:80 -s rr -b flag-1,flag-2",
            "ipvsadm: a scheduler flag (-b) is not built yet\n",
            1,
        ),
        (
            "ipvsadm -E -t 10.0.0.100:80 -s rr -p 30",
            "ipvsadm: persistence (-p) is not built yet\n",
            1,
        ),
        // Without the server and the service that are not built.
        (
            "ipvsadm -Ln --rate --stats",
            "IP Virtual Server version 1.2.1 (size=4096)\n\
             Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  \
             -> RemoteAddress:Port\n\
             TCP  10.0.0.100:80                       0        0        0        0        0\n  \
             -> 10.1.0.21:80                        0        0        0        0        0\n  \
             -> 10.1.0.22:80                        0        0        0        0        0\n",
            0,
        ),
        (
            "ipvsadm -Ln",
            "IP Virtual Server version 1.2.1 (size=4096)\n\
             Prot LocalAddress:Port Scheduler Flags\n  \
             -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
             TCP  10.0.0.100:80 wlc\n  \
             -> 10.1.0.21:80                 Route   1      0          0         \n  \
             -> 10.1.0.22:80                 Route   70000  0          0         \n",
            0,
        ),
        (
            "ipvsadm -Sn",
            "-A -t 10.0.0.100:80 -s wlc\n\
             -a -t 10.0.0.100:80 -r 10.1.0.21:80 -g -w 1\n\
             -a -t 10.0.0.100:80 -r 10.1.0.22:80 -g -w 70000\n",
            0,
        ),
    ];
    let steps = steps(text);
    assert!(steps.len() > 45);
    let used = replay(&mut Memory::new(), &steps, &ours);
    // Two of them come twice.
    assert_eq!(
        used,
        ours.len() + 1,
        "an answer of ours that was not asked for"
    );
}

#[test]
fn timeouts() {
    let text = include_str!("../../../tests/ipvsadm-output/07-timeout-daemon.txt");
    let steps: Vec<_> = steps(text)
        .into_iter()
        .filter(|step| step.command.contains("--timeout") || step.command.contains("--set"))
        .collect();
    assert_eq!(steps.len(), 4);
    replay(&mut Memory::new(), &steps, &[]);
}

/// Whatever the release lacks is understood and refused by name, and the table stays as it was.
#[test]
fn not_built() {
    for (command, what) in [
        ("-A -t 10.0.0.9:80 -p", "persistence (-p)"),
        (
            "-A -t 10.0.0.9:80 -p 60 -M 255.255.255.0",
            "persistence (-p)",
        ),
        (
            "-A -t 10.0.0.9:80 -M 255.255.255.0",
            "persistence by network (-M)",
        ),
        ("-A -t 10.0.0.9 -p", "persistence (-p)"),
        (
            "-A -u 10.0.0.9:5060 --pe sip",
            "a persistence engine (--pe)",
        ),
        ("-A -u 10.0.0.9:53 -o", "one-packet scheduling (-o)"),
        ("-A -t 10.0.0.9:80 -s sh", "the scheduler sh"),
        (
            "-A -t 10.0.0.9:80 -s mh -b mh-port",
            "a scheduler flag (-b)",
        ),
        ("-E -t 10.0.0.1:80 -s sed", "the scheduler sed"),
        ("-A -f 1", "a service by firewall mark (-f)"),
        ("-L -f 1", "a service by firewall mark (-f)"),
        ("-A --sctp-service 10.0.0.9:80", "SCTP (--sctp-service)"),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.3 -x 5",
            "an upper threshold (-x)",
        ),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.3 -y 5",
            "a lower threshold (-y)",
        ),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.3 -i --tun-type gre",
            "a GRE tunnel (--tun-type gre)",
        ),
        (
            "-a -t 10.0.0.1:80 -r 10.0.0.3 -i --tun-type gue --tun-port 1",
            "a GUE tunnel (--tun-type gue)",
        ),
        (
            "-a -t 10.0.0.1:80 -r [2001:db8::1]:80 -i",
            "a tunnel to a server of another address family",
        ),
        ("-L --daemon", "the sync daemon (--daemon)"),
        ("--start-daemon master", "the sync daemon (--start-daemon)"),
        ("--stop-daemon backup", "the sync daemon (--stop-daemon)"),
    ] {
        let mut table = Memory::new();
        assert_eq!(run(&mut table, &["-A", "-t", "10.0.0.1:80"], "").1, 0);
        let before = table.clone();
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(
            run(&mut table, &words, ""),
            (format!("ipvsadm: {what} is not built yet\n"), 1),
            "{command}"
        );
        // A restore ends there too.
        let lines = format!("{command}\n-D -t 10.0.0.1:80\n");
        assert_eq!(
            run(&mut table, &["-R"], &lines),
            (format!("ipvsadm: {what} is not built yet\n"), 1),
            "{command}"
        );
        assert_eq!(table, before, "{command}");
    }
}

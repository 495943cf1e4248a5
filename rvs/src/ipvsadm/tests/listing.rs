//! Listings, byte for byte.

use std::io::{self, Write};

use super::captures::{CONNECTIONS, LIST, connections, output, steps, table_of_the_list, words};
use super::memory::Memory;
use super::{names, run, run_with_names};

/// Runs a step of a session and compares.
fn replay(table: &mut Memory, command: &str, expected: &str, status: u8) {
    let words = words(command.strip_prefix("ipvsadm").expect(command));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(
        run(table, &words, ""),
        (expected.to_owned(), status),
        "{command}"
    );
}

#[test]
fn every_listing_of_the_session() {
    let mut table = table_of_the_list();
    let steps = steps(LIST);
    assert_eq!(steps.len(), 10);
    for step in steps {
        replay(&mut table, step.command, step.output, step.status);
    }
}

/// Whoever reads the listing has seen enough, as `head` does.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_closed_pipe_ends_it_silently() {
    let mut table = table_of_the_list();
    let step = steps(CONNECTIONS).into_iter().next().expect("a listing");
    table.connections = connections(step.output);
    for command in ["-Ln", "-Sn", "-Lnc", "-h"] {
        let mut stderr = Vec::new();
        let status = run_with_names(
            &[command.to_owned()],
            &names(),
            &mut table,
            &mut io::empty(),
            &mut Closed,
            &mut stderr,
        );
        // 128 and the number of SIGPIPE.
        assert_eq!(
            (status, stderr.as_slice()),
            (141, [].as_slice()),
            "{command}"
        );
    }
}

#[test]
fn connection_entries() {
    let mut table = Memory::new();
    let steps = steps(CONNECTIONS);
    assert!(!steps.is_empty());
    for step in steps
        .iter()
        .filter(|step| step.command.starts_with("ipvsadm"))
    {
        table.connections = connections(step.output);
        assert!(
            !table.connections.is_empty() || step.command == "ipvsadm -L",
            "{}",
            step.command
        );
        if step.command == "ipvsadm -L" {
            replay(
                &mut table_of_the_list(),
                step.command,
                step.output,
                step.status,
            );
        } else {
            replay(&mut table, step.command, step.output, step.status);
        }
    }
}

/// Every option: what the original saved restores to a table that lists and saves as the original's did.
#[test]
fn every_option() {
    let text = include_str!("../../../tests/ipvsadm-output/08-all-options.txt");
    let saved = output(text, "ipvsadm -Sn");
    let (server, limits) = ("-r 10.1.0.21:8080 -m -w 5", " -x 100 -y 50");
    let limited = saved.replace(server, &format!("{server}{limits}"));
    let mut table = Memory::new();
    assert_eq!(run(&mut table, &["-R"], &limited), (String::new(), 0));
    let mut used = 0;
    for step in steps(text) {
        // The order of the kernel's table, and a shell's line.
        if step.command.contains("--nosort") || step.command.contains('>') {
            continue;
        }
        // The original does not save thresholds.
        let expected = match step.command.contains(" -S") {
            true => step
                .output
                .replace("-m -w 5\n", &format!("-m -w 5{limits}\n")),
            false => step.output.to_owned(),
        };
        replay(&mut table, step.command, &expected, step.status);
        used += 1;
    }
    assert_eq!(used, 13);
    for names in ["-S", "-Sn"] {
        let (saved, _) = run(&mut table, &[names], "");
        let mut other = Memory::new();
        assert_eq!(run(&mut other, &["-R"], &saved), (String::new(), 0));
        assert_eq!(run(&mut other, &["-Sn"], "").0, limited);
    }
}

/// Templates, with a mark in the place of an address, and with what a persistence engine found.
#[test]
fn templates() {
    let text = include_str!("../../../tests/ipvsadm-output/14-persistence.txt");
    // Which the numeric listing without engines does not have.
    let list = |command: &str| connections(output(text, command));
    let mut table = Memory::new();
    table.connections = list("ipvsadm -Lnc --persistent-conn");
    assert_eq!(table.connections.len(), 6);
    for command in ["ipvsadm -Lnc --persistent-conn", "ipvsadm -Lnc"] {
        // Time went on between them.
        let times = list(command);
        for (entry, listed) in table.connections.iter_mut().zip(&times) {
            entry.expires = listed.expires;
        }
        replay(&mut table, command, output(text, command), 0);
    }
    let mut table = Memory::new();
    let commands = "-A -t 10.0.0.1:80 -s rr -p 60
-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m
-A -u 10.0.0.1:5060 -s rr -p 60 --pe sip
-a -u 10.0.0.1:5060 -r 10.0.0.2:5060 -m
-A -f 7 -s rr -p 60
-a -f 7 -r 10.0.0.2 -m
-A -f 7 -6 -s rr -p 60 -M 64
";
    assert_eq!(run(&mut table, &["-R"], commands), (String::new(), 0));
    for (service, inactive) in table.services.iter_mut().zip([0, 1, 1]) {
        for server in &mut service.servers {
            (server.persistent, server.inactive) = (1, inactive);
        }
    }
    let command = "ipvsadm -Ln --persistent-conn";
    replay(&mut table, command, output(text, command), 0);
}

#[test]
fn the_empty_table() {
    let text = include_str!("../../../tests/ipvsadm-output/01-empty.txt");
    for step in steps(text) {
        if step.command == "ipvsadm -L --daemon" {
            replay(
                &mut Memory::new(),
                step.command,
                "ipvsadm: the sync daemon (--daemon) is not built yet\n",
                1,
            );
        } else {
            replay(&mut Memory::new(), step.command, step.output, step.status);
        }
    }
}

#[test]
fn saved_and_zeroed() {
    let save = include_str!("../../../tests/ipvsadm-output/05-save.txt");
    let mut table = table_of_the_list();
    for command in ["ipvsadm -S -n", "ipvsadm -S"] {
        replay(&mut table, command, output(save, command), 0);
    }
    let zero = include_str!("../../../tests/ipvsadm-output/06-zero.txt");
    for step in steps(zero) {
        replay(&mut table, step.command, step.output, step.status);
    }
}

/// What is saved with numbers restores to the same table.
#[test]
fn round_trip() {
    let mut table = table_of_the_list();
    let (saved, _) = run(&mut table, &["-S", "-n"], "");
    let mut other = Memory::new();
    assert_eq!(run(&mut other, &["-R"], &saved), (String::new(), 0));
    assert_eq!(run(&mut other, &["-S", "-n"], "").0, saved);
    let (named, _) = run(&mut table, &["-S"], "");
    let mut third = Memory::new();
    assert_eq!(run(&mut third, &["-R"], &named), (String::new(), 0));
    assert_eq!(third, other);
}

/// Long names and addresses. Left out are the lines whose place comes from the original's overflowing comparison.
#[test]
fn names_and_widths() {
    let text = include_str!("../../../tests/ipvsadm-output/12-names.txt");
    let commands = "-A -t 10.0.0.109:80
-a -t 10.0.0.109:80 -r 10.0.0.110:8080 -m
-a -t 10.0.0.109:80 -r 10.0.0.109:80 -i
-A -t [2001:db8::109]:80
-a -t [2001:db8::109]:80 -r [2001:db8:1111:2222:3333:4444:5555:6666]:80 -g -w 2147483647
-a -t [2001:db8::109]:80 -r [2001:db8::109]:12345 -m -w 1000000
-A -t [2001:db8:1111:2222:3333:4444:5555:6666]:80
-A -u 10.0.0.110:53
-A -t 200.0.0.1:80
-A -t 100.0.0.1:80
-A -t [::1.2.3.4]:80
-A -t [64:ff9b::1.2.3.4]:80
-a -t 200.0.0.1:80 -r 200.0.0.2 -m
-a -t 200.0.0.1:80 -r 127.0.0.1 -m
-a -t 200.0.0.1:80 -r 128.0.0.2 -m
-A -t [2001:db8::1]:80
-A -t [2001:db8::1:0:0]:80
";
    let mut table = Memory::new();
    assert_eq!(run(&mut table, &["-R"], commands), (String::new(), 0));
    let steps = steps(text);
    assert!(steps.len() >= 9);
    for step in steps
        .iter()
        .filter(|step| step.command != "ipvsadm -Ln --nosort")
    {
        let left_out = |line: &&str| {
            ["10.0.0.2:", "f000::1"]
                .iter()
                .any(|part| line.contains(part))
        };
        let mut expected: String = step
            .output
            .lines()
            .filter(|line| !left_out(line))
            .map(|line| format!("{line}\n"))
            .collect();
        if step.command == "ipvsadm -S" {
            // The original cuts a long name's port, and cannot restore what it saved.
            expected = expected.replace(".example.com:http-al ", ".example.com:http-alt ");
        }
        replay(&mut table, step.command, &expected, step.status);
    }
}

//! Thousands of command lines that the real ipvsadm was given.

use super::captures::words;
use super::memory::Memory;
use super::run;
use crate::ipvsadm::table::TableError;

const PROBES: &str = include_str!("../../../tests/ipvsadm-output/10-probes.tsv");

/// Messages of the kernel, which depend on the table and on the machine.
const KERNEL: [&str; 4] = [
    "Daemon has already run",
    "No daemon is running",
    "No such device",
    "Cannot assign requested address",
];

/// What RVS refuses and IPVS takes: services on addresses and servers on ports that nobody can reach, and persistence
/// engines that would never be asked.
const OWN: [&str; 3] = [
    "Invalid operation.  Possibly wrong module version",
    "port 0: the real server ",
    "the persistence engine sip ",
];

/// What the captures' kernel lacked (twos), or refused because its sync daemon ran.
const MORE: [&str; 4] = [
    "-A -t 10.0.0.109:80 -s twos",
    "-A -u 10.0.0.109:80 -s twos",
    "-E -t 10.0.0.100:80 -s twos",
    "-a -t [2001:db8::100]:80 -r 10.1.0.21:80 -i",
];

fn table() -> Memory {
    let mut table = Memory::new();
    let lines = "-A -t 10.0.0.100:80 -s rr\n\
                 -a -t 10.0.0.100:80 -r 10.1.0.21:80 -m\n\
                 -A -t [2001:db8::100]:80 -s wlc\n";
    assert_eq!(run(&mut table, &["-R"], lines), (String::new(), 0));
    table
}

#[test]
fn every_probe() {
    let mut wrong = Vec::new();
    let before = run(&mut table(), &["-Sn"], "")
        .0
        .trim_end()
        .replace('\n', ";");
    let (mut same, mut not_built, mut refused, mut more) = (0, 0, 0, 0);
    for line in PROBES.lines() {
        let mut fields = line.split('\t');
        let mut field = || fields.next().expect(line);
        let (status, command, message, saved) = (field(), field(), field(), field());
        let status: u8 = status.parse().expect(line);
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut table = table();
        let (output, own_status) = run(&mut table, &words, "");
        let own_message = output.lines().next().unwrap_or_default();
        let from_parser = status == 2 || status == 255 && !from_kernel(message);
        if own_status == 1 && own_message.ends_with(" is not built yet") {
            assert!(!from_parser, "{command}: {message}, not {own_message}");
            assert!(own_message.contains("the sync daemon"), "{command}");
            not_built += 1;
        } else if own_status == 255
            && status == 0
            && OWN.iter().any(|own| own_message.starts_with(own))
        {
            refused += 1;
        } else if own_status == 0 && MORE.contains(&command) {
            more += 1;
        } else {
            let own_message = if own_status == 0 { "" } else { own_message };
            if (own_status, own_message) != (status, message) {
                wrong.push(format!(
                    "{command}: {status} {message:?}, not {own_status} {own_message:?}"
                ));
            }
            let own_saved = run(&mut table, &["-Sn"], "")
                .0
                .trim_end()
                .replace('\n', ";");
            let right = match saved {
                "" => own_saved == before || own_saved.is_empty(),
                saved => without_thresholds(&own_saved) == unsigned(saved),
            };
            if !right {
                wrong.push(format!("{command}: {saved:?}, not {own_saved:?}"));
            }
            same += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(more, MORE.len());
    assert!(same > 2500 && not_built < 100, "{same} {not_built}");
    assert!(refused < 60, "{refused}");
}

/// The original does not save thresholds.
fn without_thresholds(saved: &str) -> String {
    let line = |line: &str| {
        let (mut kept, mut words) = (Vec::new(), line.split(' '));
        while let Some(word) = words.next() {
            match word {
                "-x" | "-y" => drop(words.next()),
                word => kept.push(word),
            }
        }
        kept.join(" ")
    };
    saved.split(';').map(line).collect::<Vec<_>>().join(";")
}

/// The original saves large marks as negative numbers, which it cannot restore, and sorts them so.
fn unsigned(saved: &str) -> String {
    if saved.starts_with("-A -f -1 -s wlc;") {
        let rest = saved.trim_start_matches("-A -f -1 -s wlc;");
        return format!("{rest};-A -f 4294967295 -s wlc");
    }
    saved.replace("-f -2147483648 ", "-f 2147483648 ")
}

fn from_kernel(message: &str) -> bool {
    KERNEL.contains(&message)
        || [
            TableError::ServiceExists,
            TableError::NoSuchService,
            TableError::ServiceNotDefined,
            TableError::DestinationExists,
            TableError::NoSuchDestination,
            TableError::SchedulerNotFound,
            TableError::Invalid,
            TableError::OutOfRange,
        ]
        .iter()
        .any(|error| error.to_string() == message)
}

/// Two options and more that do not go together, or arguments that are wrong: which of the complaints comes first.
#[test]
fn every_pair() {
    let pairs = include_str!("../../../tests/ipvsadm-output/13-pairs.tsv");
    for line in pairs.lines() {
        let [status, command, message] = *line.split('\t').collect::<Vec<_>>() else {
            panic!("{line}");
        };
        let words: Vec<&str> = command.split(' ').collect();
        let (output, own_status) = run(&mut table(), &words, "");
        assert_eq!(
            (own_status.to_string().as_str(), output.lines().next()),
            (status, Some(message)),
            "{command}"
        );
    }
    assert!(pairs.lines().count() > 400);
}

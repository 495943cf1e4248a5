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
    // Its servers had connections.
    let text = include_str!("../../../tests/ipvsadm-output/09-errors.txt")
        .replace("0          3         \n", "0          0         \n");
    const DAEMON: &str = "ipvsadm: the sync daemon (--start-daemon) is not built yet\n";
    let ours = [
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
    ];
    let steps = steps(&text);
    assert!(steps.len() > 45);
    let used = replay(&mut Memory::new(), &steps, &ours);
    assert_eq!(used, ours.len(), "an answer of ours that was not asked for");
}

/// Marks, masks, engines, thresholds, and what is wrong with them.
#[test]
fn more_options() {
    let text = include_str!("../../../tests/ipvsadm-output/13-more-options.txt");
    let steps = steps(text);
    assert_eq!(steps.len(), 63);
    replay(&mut Memory::new(), &steps, &[]);
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

/// The sync daemon is understood and refused by name, and the table stays as it was.
#[test]
fn not_built() {
    for (command, what) in [
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
        assert_eq!(table, before, "{command}");
        // A restore says so and goes on, as ipvsadm's does where the kernel refuses.
        let lines = format!("{command}\n-D -t 10.0.0.1:80\n");
        assert_eq!(
            run(&mut table, &["-R"], &lines),
            (format!("ipvsadm: {what} is not built yet\n"), 0),
            "{command}"
        );
        assert_ne!(table, before, "{command}");
    }
}

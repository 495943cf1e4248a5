//! The evidence that a lab leaves of a failure. Each test here runs itself once more, as the process that
//! leaves evidence: the variables that ask for it are those of a whole process.

use rvs_lab::{Flood, Host, KeptLabs, Lab, Leftover, Traces};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const INNER: &str = "RVS_LAB_TEST_INNER";
const TIME: Duration = Duration::from_secs(30);

/// Two hosts on one link.
fn pair(lab: &Lab) -> Result<(Host, Host)> {
    let (one, other) = (lab.host("one")?, lab.host("other")?);
    lab.link(&one, "eth0", &other, "eth7")?;
    one.add_address("eth0", "192.0.2.1/24")?;
    other.add_address("eth7", "192.0.2.2/24")?;
    Ok((one, other))
}

/// The files that an inner process left.
struct Left {
    _parent: tempfile::TempDir,
    directory: PathBuf,
    contents: String,
    process: u32,
    status: ExitStatus,
}

fn is_inner() -> bool {
    std::env::var_os(INNER).is_some()
}

/// Runs a test of this file in a process of its own.
fn run_inner(test: &str, variables: &[(&str, &str)]) -> Result<Left> {
    let parent = tempfile::Builder::new().prefix("rvs-lab-test").tempdir()?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", test])
        .env(INNER, "1")
        .env("RVS_LAB_EVIDENCE", parent.path())
        .env_remove("RVS_LAB_DEADLINE_SECONDS")
        .envs(variables.iter().copied())
        // It would look like the output of the outer test.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = child.wait()?;
    let directory = parent.path().join(format!("rvs-{}-0", child.id()));
    Ok(Left {
        contents: fs::read_to_string(directory.join("contents.txt"))?,
        directory,
        process: child.id(),
        status,
        _parent: parent,
    })
}

fn tcpdump(file: &Path) -> Result<String> {
    let output = Command::new(rvs_lab::require_program("tcpdump")?)
        .args(["-n", "-v", "-r"])
        .arg(file)
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn a_lab_leaves_its_traffic_and_its_logs() -> Result {
    if is_inner() {
        let lab = Lab::new()?;
        let (one, other) = pair(&lab)?;
        one.run(&["ping", "-n", "-c", "1", "-s", "1400", "192.0.2.2"])?;
        let mut child = other.spawn(&["sh", "-c", "echo the last words"])?;
        child.wait(TIME)?;
        fs::write(lab.directory().join("long"), vec![0; 2 << 20])?;
        return Err("a test that fails without a panic".into());
    }
    let left = run_inner("a_lab_leaves_its_traffic_and_its_logs", &[])?;
    assert!(!left.status.success());
    for (host, ifname) in [("one", "eth0"), ("other", "eth7")] {
        let file = left.directory.join(format!("{host}.pcapng"));
        let seen = tcpdump(&file)?;
        for packet in ["echo request", "echo reply"] {
            assert!(seen.contains(packet), "{packet}: {seen}");
        }
        // The whole packet's length, though only its beginning is in the file.
        assert!(seen.contains("length 1428"), "{seen}");
        let bytes = fs::read(&file)?;
        let has_name = bytes.windows(4).any(|word| word == ifname.as_bytes());
        assert!(has_name, "{ifname} of {host}");
        assert!(left.contents.contains(&format!("{host}.pcapng: ")));
    }
    assert!(!left.contents.contains("did not fit"), "{}", left.contents);
    assert!(!left.contents.contains("not known"), "{}", left.contents);
    let log = fs::read_to_string(left.directory.join("files/other-sh-0.log"))?;
    assert_eq!(log, "the last words\n");
    assert!(!left.directory.join("files/long").exists());
    assert!(left.contents.contains("/long: not copied"));
    Ok(())
}

#[test]
fn packets_that_did_not_fit_are_counted() -> Result {
    const FRAMES: u64 = 30_000;
    if is_inner() {
        let lab = Lab::new()?;
        let (one, other) = pair(&lab)?;
        let mut frame = [other.mac("eth7")?, one.mac("eth0")?].concat();
        frame.extend([0x88, 0xb5]);
        frame.extend([0xa5; 50]);
        let flood = Flood::start(&one, "eth0", 1_000_000, move |number| {
            (number < FRAMES).then(|| frame.clone())
        })?;
        assert_eq!(flood.finish()?, FRAMES);
        return Ok(());
    }
    let left = run_inner("packets_that_did_not_fit_are_counted", &[])?;
    assert!(left.status.success());
    let line = left
        .contents
        .lines()
        .find(|line| line.starts_with("one.pcapng"))
        .ok_or("no line for the host")?;
    let numbers: Vec<u64> = line
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let [kept, lost] = numbers[..] else {
        return Err(format!("not two numbers: {line}").into());
    };
    assert!(kept > 2000 && lost > 0 && kept + lost >= FRAMES, "{line}");
    assert!(kept + lost < FRAMES + 100, "{line}");
    Ok(())
}

#[test]
fn a_test_that_hangs_ends_with_evidence() -> Result {
    if is_inner() {
        let lab = Lab::new()?;
        let (one, _other) = pair(&lab)?;
        one.run(&["ping", "-n", "-c", "1", "192.0.2.2"])?;
        fs::write(lab.directory().join("was-here"), "yes")?;
        std::thread::sleep(10 * TIME);
        return Ok(());
    }
    let test = "a_test_that_hangs_ends_with_evidence";
    let left = run_inner(test, &[("RVS_LAB_DEADLINE_SECONDS", "2")])?;
    assert_eq!(left.status.signal(), Some(libc::SIGABRT));
    assert!(left.directory.join("files/was-here").exists());
    let seen = tcpdump(&left.directory.join("other.pcapng"))?;
    assert!(seen.contains("echo reply"), "{seen}");
    // Its namespaces are left, and swept as those of any process that is no more.
    let namespace = PathBuf::from(format!("/run/netns/rvs-{}-0-one", left.process));
    assert!(namespace.exists());
    for leftover in Leftover::find(Traces::default(), KeptLabs::Stay) {
        if leftover.owner == left.process {
            leftover.remove()?;
        }
    }
    assert!(!namespace.exists());
    Ok(())
}

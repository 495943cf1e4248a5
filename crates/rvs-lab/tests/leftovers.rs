//! Leftovers of a killed process are found and removed, and nothing else is.

use rvs_lab::{KeptLabs, Lab, Leftover, Traces, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const INNER: &str = "RVS_LAB_TEST_INNER";
const TIME: Duration = Duration::from_secs(30);

/// The things of a process that count as leftovers once it has ended.
fn left_by(owner: u32, traces: Traces<'_>, kept_labs: KeptLabs) -> Vec<Leftover> {
    let all = Leftover::find(traces, kept_labs);
    all.into_iter()
        .filter(|leftover| leftover.owner == owner)
        .collect()
}

#[test]
fn what_a_killed_process_left_is_removed() -> Result {
    if std::env::var_os(INNER).is_some() {
        let lab = Lab::new()?;
        let host = lab.host("killed")?;
        let _sleeper = host.spawn(&["sleep", "1000"])?;
        fs::write(lab.directory().join("ready"), "")?;
        std::thread::sleep(10 * TIME);
        return Ok(());
    }
    let mut inner = Command::new(std::env::current_exe()?)
        .args(["--exact", "what_a_killed_process_left_is_removed"])
        .env(INNER, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = inner.id();
    let namespace = PathBuf::from(format!("/run/netns/rvs-{pid}-0-killed"));
    let directory = || {
        let prefix = format!("rvs-lab-{pid}-0-");
        let entries = fs::read_dir(std::env::temp_dir()).ok()?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        })
    };
    wait_until("a lab", TIME, || {
        directory().is_some_and(|path| path.join("ready").exists())
    })?;
    let directory = directory().ok_or("no directory")?;

    // Traces of that lab's programs in other places.
    let elsewhere = tempfile::Builder::new().prefix("rvs-lab-test").tempdir()?;
    let [by_owner, of_another, by_namespace, of_no_lab] = [
        format!("test-{pid}-3"),
        format!("test-{}-3", std::process::id()),
        format!("state-{}", fs::metadata(&namespace)?.ino()),
        "default".to_owned(),
    ]
    .map(|name| elsewhere.path().join(name));
    fs::create_dir_all(by_owner.join("within"))?;
    fs::write(&of_another, "")?;
    fs::write(&by_namespace, "")?;
    fs::create_dir(&of_no_lab)?;
    let traces_of_namespaces = elsewhere.path().join("state-{}");
    let traces = Traces {
        by_owner: &[&elsewhere.path().to_string_lossy()],
        by_namespace: &[&traces_of_namespaces.to_string_lossy()],
    };

    assert_eq!(left_by(pid, traces, KeptLabs::Go), []);
    inner.kill()?;
    // Not even waited for, it is no more.
    wait_until("its end", TIME, || {
        !left_by(pid, traces, KeptLabs::Stay).is_empty()
    })?;
    let left = left_by(pid, traces, KeptLabs::Stay);
    inner.wait()?;
    let paths: Vec<&Path> = left.iter().map(|left| left.path.as_path()).collect();
    assert_eq!(paths, [&namespace, &by_namespace, &by_owner, &directory]);
    let inside = fs::metadata(&namespace)?.ino();
    for leftover in &left {
        leftover.remove()?;
        // Another process may be quicker.
        leftover.remove()?;
    }
    assert!(paths.iter().all(|path| !path.exists()), "{paths:?}");
    assert!(of_another.exists() && of_no_lab.exists());
    assert_eq!(left_by(pid, traces, KeptLabs::Go), []);
    wait_until("the end of its process", TIME, || !is_inhabited(inside))?;
    Ok(())
}

/// Whether a process is in the network namespace of this number.
fn is_inhabited(number: u64) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| fs::metadata(entry.path().join("ns/net")).ok())
        .any(|data| data.ino() == number)
}

#[test]
fn sweep_removes_what_the_dead_left() -> Result {
    // Of a process that is over.
    let mut over = Command::new("true").spawn()?;
    over.wait()?;
    let left = format!("rvs-{}-0-client", over.id());
    let lab = Lab::new()?;
    let living = lab.host("living")?;
    assert!(
        Command::new("ip")
            .args(["netns", "add", &left])
            .status()?
            .success()
    );
    // Not all that anybody left: other tests look for what theirs did.
    let found = left_by(over.id(), Traces::default(), KeptLabs::Stay);
    let path = Path::new("/run/netns").join(&left);
    let paths: Vec<&Path> = found.iter().map(|left| left.path.as_path()).collect();
    assert_eq!(paths, [&path]);
    found[0].remove()?;
    assert!(!path.exists());
    assert!(living.namespace_path().exists());
    Ok(())
}

#[test]
fn kept_labs_stay_until_swept() -> Result {
    let lab = Lab::new()?;
    let host = lab.host("client")?;
    let child = host.spawn(&["sleep", "1000"])?;
    let id = child.id();
    let kept = lab.keep()?;
    drop(child);
    assert_eq!(kept.namespaces, [host.namespace()]);
    let paths = [
        host.namespace_path(),
        kept.directory,
        format!("/proc/{id}").into(),
    ];
    assert!(paths.iter().all(|path| path.exists()), "{paths:?}");
    // This process lives, so a sweep does not touch even kept ones; they are removed by hand.
    assert_eq!(
        left_by(std::process::id(), Traces::default(), KeptLabs::Go),
        []
    );
    host.run(&["kill", "-9", &id.to_string()])?;
    host.run(&["ip", "netns", "del", host.namespace()])?;
    fs::remove_dir_all(&paths[1])?;
    Ok(())
}

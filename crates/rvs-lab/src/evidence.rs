//! Evidence of a lab for a person who examines a failed test: the traffic of its namespaces and its logs.
//!
//! A lab does not know how its test ended, since most return an error instead of panicking. So every lab writes its evidence
//! when it is dropped, if [`EVIDENCE_VARIABLE`] names a directory, and whoever started the test removes what is not needed.
//! A test that hangs drops nothing: when [`DEADLINE_VARIABLE`] is set, a thread writes the evidence of all labs at that time
//! and aborts the process. Its namespaces are left to the next sweep.

use crate::error::{Context as _, Result};
use crate::lab::Shared;
use crate::program::THIS_MACHINE;
use crate::tap::Tap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError, Weak};
use std::time::Duration;

/// The directory where labs leave evidence.
pub(crate) const EVIDENCE_VARIABLE: &str = "RVS_LAB_EVIDENCE";
/// How many seconds after its first lab a process writes down what there is and aborts.
pub(crate) const DEADLINE_VARIABLE: &str = "RVS_LAB_DEADLINE_SECONDS";

/// Longer files are data for transfers, or logs whose beginning is not worth the disk.
const MAX_FILE_BYTES: u64 = 1 << 20;
const CONTENTS: &str = "contents.txt";

/// The labs of this process that may still have evidence.
static LABS: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// The directory for a lab's evidence, if there is one.
pub(crate) fn directory(prefix: &str) -> Option<PathBuf> {
    let parent = std::env::var_os(EVIDENCE_VARIABLE)?;
    Some(Path::new(&parent).join(prefix.trim_end_matches('-')))
}

/// Makes a lab known to the watchdog, which the first one starts.
pub(crate) fn register(lab: Weak<Shared>) {
    static WATCHDOG: Once = Once::new();
    let mut labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
    labs.retain(|lab| lab.strong_count() > 0);
    labs.push(lab);
    drop(labs);
    WATCHDOG.call_once(|| {
        let deadline = std::env::var(DEADLINE_VARIABLE).ok();
        if let Some(seconds) = deadline.and_then(|seconds| seconds.parse().ok()) {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                abort_with_evidence(seconds);
            });
        }
    });
}

fn abort_with_evidence(seconds: u64) -> ! {
    eprintln!("rvs-lab: this process has run for {seconds} s ({DEADLINE_VARIABLE}): it is aborted");
    let labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
    for lab in labs.iter().filter_map(Weak::upgrade) {
        lab.leave_evidence();
    }
    std::process::abort()
}

/// Writes the traffic and copies the lab's small files.
pub(crate) fn write(directory: &Path, prefix: &str, files: &Path, taps: Vec<Tap>) -> Result<()> {
    fs::create_dir_all(directory).at(THIS_MACHINE, || {
        format!("cannot make {}", directory.display())
    })?;
    let mut contents = format!(
        "The lab {prefix}: its files, and each host's traffic (the first bytes of each packet; `tshark -r FILE`).\n\n"
    );
    for tap in taps {
        let name = format!("{}.pcapng", tap.host());
        let line = match tap.write(&directory.join(&name)) {
            Ok(written) => {
                let packets = written.packets;
                match written.lost {
                    Some(0) => format!("{packets} packets"),
                    Some(lost) => {
                        format!("the first {packets} packets; {lost} more did not fit")
                    }
                    None => format!("{packets} packets; whether more came is not known"),
                }
            }
            Err(error) => error.to_string(),
        };
        let _ = writeln!(contents, "{name}: {line}");
    }
    let left_out = copy_small_files(files, &directory.join("files"));
    for path in left_out {
        let _ = writeln!(contents, "{}: not copied", path.display());
    }
    let path = directory.join(CONTENTS);
    fs::write(&path, contents).at(THIS_MACHINE, || format!("cannot write {}", path.display()))
}

/// Copies a directory's regular files, those of its directories too; the paths of those that were too long, or could not be
/// copied.
fn copy_small_files(from: &Path, to: &Path) -> Vec<PathBuf> {
    let mut left_out = Vec::new();
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(data) = fs::symlink_metadata(&path) else {
            continue;
        };
        if data.is_dir() {
            left_out.extend(copy_small_files(&path, &target));
        } else if data.is_file() {
            let is_copied = data.len() <= MAX_FILE_BYTES
                && fs::create_dir_all(to)
                    .and_then(|()| fs::copy(&path, &target))
                    .is_ok();
            if !is_copied {
                left_out.push(path);
            }
        }
    }
    left_out.sort();
    left_out
}

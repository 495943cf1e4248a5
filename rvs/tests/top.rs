//! `rvs top` at a terminal: it shows a director, and whatever ends it, the terminal is as it was.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{Director, Outcome, RVS, in_guest, text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use rvs_lab::Lab;

const WEB: &str = r#"
[[service]]
name = "web"
address = "tcp://10.0.0.100:80"
method = "nat"
servers = ["10.0.0.21", { address = "10.0.0.22", weight = 0 }]
"#;

/// A terminal with `rvs top` at it.
struct Terminal {
    screen: File,
    line: File,
    child: Child,
    seen: String,
}

impl Terminal {
    fn start(director: &Director) -> Outcome<Terminal> {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&screen)?;
        unlockpt(&screen)?;
        tcsetwinsize(
            &screen,
            Winsize {
                ws_row: 24,
                ws_col: 100,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )?;
        let path = ptsname(&screen, Vec::new())?;
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc_noctty())
            .open(path.to_str()?)?;
        let end = |line: &File| -> Outcome<Stdio> { Ok(OwnedFd::from(line.try_clone()?).into()) };
        let child = Command::new(RVS)
            .arg("--socket")
            .arg(director.socket())
            .arg("top")
            .env("TERM", "xterm")
            .stdin(end(&line)?)
            .stdout(end(&line)?)
            .stderr(end(&line)?)
            .spawn()?;
        Ok(Terminal {
            screen: File::from(screen),
            line,
            child,
            seen: String::new(),
        })
    }

    fn modes(&self) -> Outcome<Termios> {
        Ok(tcgetattr(&self.line)?)
    }

    /// Reads what is drawn until these words are among it.
    fn see(&mut self, words: &str) -> Outcome {
        let end = Instant::now() + patience();
        while !self.seen.contains(words) {
            if Instant::now() > end {
                return Err(format!("no {words:?} in {:?}", self.seen).into());
            }
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Outcome<bool> {
        let mut polled = [PollFd::new(&self.screen, PollFlags::IN)];
        let tenth = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        if poll(&mut polled, Some(&tenth))? == 0 {
            return Ok(false);
        }
        let mut buffer = [0; 65536];
        let count = self.screen.read(&mut buffer)?;
        self.seen
            .push_str(&text(buffer.get(..count).unwrap_or_default()));
        Ok(count > 0)
    }

    fn press(&mut self, keys: &str) -> Outcome {
        self.seen.clear();
        Ok(self.screen.write_all(keys.as_bytes())?)
    }

    /// Waits for its end, and compares the terminal with what it was.
    fn end(mut self, before: &Termios) -> Outcome<ExitStatus> {
        let end = Instant::now() + patience();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                self.child.kill()?;
                self.child.wait()?;
                return Err("rvs top does not end".into());
            }
            self.read()?;
        };
        while self.read()? {}
        let after = self.modes()?;
        assert_eq!(after.local_modes, before.local_modes);
        assert_eq!(after.input_modes, before.input_modes);
        assert_eq!(after.output_modes, before.output_modes);
        // The other screen is left, and the cursor is back.
        let left = self
            .seen
            .rfind("\u{1b}[?1049l")
            .ok_or("the screen was kept")?;
        assert!(!self.seen.split_at(left).1.contains("\u{1b}[?1049h"));
        assert!(
            self.seen.rfind("\u{1b}[?25h") > self.seen.rfind("\u{1b}[?25l"),
            "{:?}",
            self.seen
        );
        Ok(status)
    }
}

fn patience() -> Duration {
    Duration::from_secs(if in_guest() { 120 } else { 20 })
}

/// Opening a terminal shall not make it the controlling one.
fn libc_noctty() -> i32 {
    rustix::fs::OFlags::NOCTTY.bits().cast_signed()
}

#[test]
fn whatever_ends_it_the_terminal_is_as_it_was() -> Outcome {
    let lab = Lab::new()?;
    let (host, peer) = (lab.host("director")?, lab.host("peer")?);
    lab.link(&host, "eth0", &peer, "eth0")?;
    host.add_address("eth0", "10.0.0.1/24")?;
    let mut director = Director::start(&host, "interfaces = [\"eth0\"]", WEB)?;

    for end in ["q", "\u{3}", "TERM", "INT", "HUP"] {
        let mut terminal = Terminal::start(&director)?;
        let before = terminal.modes()?;
        terminal.see("tcp://10.0.0.100:80")?;
        terminal.see("quiesced")?;
        assert_ne!(terminal.modes()?.local_modes, before.local_modes);
        let signal = match end {
            "TERM" => Some(Signal::TERM),
            "INT" => Some(Signal::INT),
            "HUP" => Some(Signal::HUP),
            keys => {
                terminal.screen.write_all(keys.as_bytes())?;
                None
            }
        };
        if let Some(signal) = signal {
            let process = Pid::from_child(&terminal.child);
            kill_process(process, signal)?;
        }
        assert!(terminal.end(&before)?.success(), "{end:?}");
    }

    // A director that goes away is waited for, and what was seen last stays.
    let mut terminal = Terminal::start(&director)?;
    let before = terminal.modes()?;
    terminal.see("tcp://10.0.0.100:80")?;
    director.terminate()?;
    terminal.see("no director answers at")?;
    director.run()?;
    terminal.press("/")?;
    terminal.see("Enter: keep")?;
    terminal.press("\u{1b}")?;
    terminal.see("q quit")?;
    terminal.press("q")?;
    // All that was drawn after the last key counts, the first screen does not.
    terminal.seen.insert_str(0, "\u{1b}[?25l");
    assert!(terminal.end(&before)?.success());

    // Without a terminal one frame is printed.
    let output = Command::new(RVS)
        .arg("--socket")
        .arg(director.socket())
        .arg("top")
        .output()?;
    let frame = text(&output.stdout);
    assert!(frame.starts_with("RVS "), "{frame}");
    assert!(
        frame.contains("tcp://10.0.0.100:80 web") && !frame.contains('\u{1b}'),
        "{frame}"
    );
    director.terminate()
}

#[test]
fn without_a_director_no_screen_is_taken() -> Outcome {
    let output = Command::new(RVS)
        .args(["--socket", "/nonexistent/x.sock", "top"])
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("rvs: no director answers at /nonexistent/x.sock")
            && error.lines().count() == 1,
        "{error}"
    );
    assert!(output.stdout.is_empty());
    Ok(())
}

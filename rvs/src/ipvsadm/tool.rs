//! ipvsadm and its two companions, `ipvsadm-save` and `ipvsadm-restore`, which the original has as shell scripts.

use std::io::{BufRead, Write};
use std::path::Path;

use super::run;
use super::table::Table;

/// Under which name the front end was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Ipvsadm,
    Save,
    Restore,
}

impl Tool {
    const ALL: [Tool; 3] = [Tool::Ipvsadm, Tool::Save, Tool::Restore];

    const fn name(self) -> &'static str {
        match self {
            Tool::Ipvsadm => "ipvsadm",
            Tool::Save => "ipvsadm-save",
            Tool::Restore => "ipvsadm-restore",
        }
    }

    /// The tool that a program's path names.
    pub(crate) fn of(program: &Path) -> Option<Tool> {
        let name = program.file_name()?;
        Tool::ALL.into_iter().find(|tool| name == tool.name())
    }

    /// Does what the words after the tool's name say, and returns the exit status.
    pub(crate) fn run(
        self,
        words: &[String],
        table: &mut impl Table,
        stdin: &mut impl BufRead,
        stdout: &mut impl Write,
        stderr: &mut impl Write,
    ) -> u8 {
        let once = |word: &str| vec![word.to_owned()];
        match self {
            Tool::Ipvsadm => run(words, table, stdin, stdout, stderr),
            Tool::Save => {
                if words
                    .iter()
                    .any(|word| word.starts_with('-') && word != "-n")
                {
                    // Nobody is left to tell when standard error is gone.
                    let _ = stderr.write_all(SAVE_HELP.as_bytes());
                    return 1;
                }
                let numeric = words.iter().any(|word| word == "-n");
                let command = once(if numeric { "-Sn" } else { "-S" });
                run(&command, table, stdin, stdout, stderr)
            }
            Tool::Restore => {
                // All of it is read before anything is cleared; whole lines of comment are left out.
                let mut lines = Vec::new();
                if let Err(error) = stdin.read_to_end(&mut lines) {
                    let _ = writeln!(stderr, "standard input: {error}");
                    return 2;
                }
                let rules: Vec<u8> = lines
                    .split_inclusive(|&byte| byte == b'\n')
                    .filter(|line| !line.starts_with(b"#"))
                    .flatten()
                    .copied()
                    .collect();
                match run(&once("-C"), table, stdin, stdout, stderr) {
                    0 => run(&once("-R"), table, &mut rules.as_slice(), stdout, stderr),
                    failed => failed,
                }
            }
        }
    }
}

const SAVE_HELP: &str = "ipvsadm-save: Script to save the IPVS table to stdout.
   With the -n option, prints out the table in numeric format.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipvsadm::tests::Memory;

    fn tool(tool: Tool, table: &mut Memory, words: &str, stdin: &str) -> (String, u8) {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = tool.run(&words, table, &mut stdin.as_bytes(), &mut out, &mut err);
        out.extend(err);
        (String::from_utf8(out).expect("text"), status)
    }

    #[test]
    fn names() {
        for (program, found) in [
            ("ipvsadm", Some(Tool::Ipvsadm)),
            ("/usr/sbin/ipvsadm-save", Some(Tool::Save)),
            ("./ipvsadm-restore", Some(Tool::Restore)),
            ("/usr/bin/rvs", None),
            ("", None),
            ("ipvsadm-", None),
        ] {
            assert_eq!(Tool::of(Path::new(program)), found, "{program}");
        }
    }

    #[test]
    fn saved_and_restored() {
        let mut table = Memory::new();
        let rules =
            "-A -t 10.0.0.100:4321 -s rr -p 60\n-a -t 10.0.0.100:4321 -r 10.1.0.21:4321 -m -w 1\n";
        let line = "-A -u 10.0.0.9:9\n";
        assert_eq!(
            tool(Tool::Ipvsadm, &mut table, line, ""),
            (String::new(), 0)
        );
        let commented = format!("# rules of the night\n{rules}#-A -t 10.0.0.7:80\n");
        let restored = tool(Tool::Restore, &mut table, "--whatever", &commented);
        assert_eq!(restored, (String::new(), 0), "what was there is gone");
        for words in ["-n", "-n -n", "-n x"] {
            let saved = tool(Tool::Save, &mut table, words, "");
            assert_eq!(saved, (rules.to_owned(), 0), "{words}");
        }
        assert_eq!(
            tool(Tool::Save, &mut table, "-n -L", ""),
            (SAVE_HELP.to_owned(), 1)
        );
        // The last line's status, as from ipvsadm -R.
        let (error, status) = tool(
            Tool::Restore,
            &mut table,
            "",
            "-A -t 10.0.0.1:80\n-D -t 10.0.0.2:80\n",
        );
        assert_eq!((error.as_str(), status), ("No such service\n", 255));
    }
}

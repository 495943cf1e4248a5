//! `rvs completions`: what a shell needs to complete the words of this program.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};

use crate::cli::Cli;

/// The shells whose completions are tried.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    /// bash, with bash-completion
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Prints the shell's script.
pub(crate) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    std::io::stdout()
        .write_all(&script(shell))
        .context("standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    use clap_complete::{Shell as Known, generate};
    let shell = match shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    // Written here first, since the generator takes a closed output for a fault of its own.
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "rvs", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_script_names_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).expect("text");
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?}: {command}");
            }
        }
    }

    /// What bash offers behind these words, the last of which is not complete.
    fn offered(words: &str) -> Vec<String> {
        let asked = format!(
            "source /dev/stdin; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _rvs rvs \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash")
            .args(["--norc", "-c", &asked])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut stdin = bash.stdin.take().expect("a pipe");
        stdin.write_all(&script(Shell::Bash)).expect("written");
        drop(stdin);
        let output = bash.wait_with_output().expect("an end");
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_commands_and_options() {
        assert_eq!(
            offered("rvs serv"),
            ["services", "servers", "service", "server"]
        );
        assert_eq!(offered("rvs service se"), ["set"]);
        assert!(offered("rvs service add --sch").contains(&"--scheduler".to_owned()));
        assert_eq!(offered("rvs completions f"), ["fish"]);
        assert_eq!(offered("rvs nothing-like-this-"), [""]);
    }
}

//! RVS, the Rust Virtual Server: the daemon, its commands, and the ipvsadm front end.
//!
//! This crate is the rim: it reads command lines, wires the daemon together and prints. What is wanted and what is
//! lives in `rvs-control`, packets in the data plane.

mod check;
mod cli;
mod commands;
mod completions;
mod daemon;
mod doctor;
mod ipvsadm;
mod realserver;
mod remote_table;
mod selection;
#[cfg(test)]
mod served;
mod settings;
mod show;
mod top;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let result = match ipvsadm::Tool::of(Path::new(&program)) {
        Some(tool) => {
            let words: Vec<String> = words.map(lossy).collect();
            ipvsadm_front_end(tool, &words, selection::Selection::default())
        }
        None => run(cli::Cli::parse()),
    };
    result.unwrap_or_else(|error| {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(std::io::stderr(), "rvs: {}", one_line(&error));
        ExitCode::FAILURE
    })
}

fn run(cli: cli::Cli) -> anyhow::Result<ExitCode> {
    let selection = selection::Selection {
        instance: cli.global.instance,
        socket: cli.global.socket,
    };
    let selection = || selection.or_environment();
    let form = match cli.global.json {
        true => show::Form::Json,
        false => show::Form::Text,
    };
    match cli.command {
        cli::Command::Run(args) => daemon::run(args, &selection()?),
        cli::Command::Check { file } => check::run(&file, form),
        cli::Command::Ipvsadm(words) => front_end(ipvsadm::Tool::Ipvsadm, words, selection()?),
        cli::Command::IpvsadmSave(words) => front_end(ipvsadm::Tool::Save, words, selection()?),
        cli::Command::IpvsadmRestore(words) => {
            front_end(ipvsadm::Tool::Restore, words, selection()?)
        }
        cli::Command::Realserver(args) => realserver::run(&args),
        cli::Command::Doctor(args) => doctor::run(&args, &selection()?),
        cli::Command::Completions { shell } => completions::run(shell),
        cli::Command::Top(args) => top::run(&args, &selection()?, form),
        cli::Command::Ask(command) => commands::run(&command, &selection()?, form),
    }
}

fn front_end(
    tool: ipvsadm::Tool,
    cli::Words { words }: cli::Words,
    selection: selection::Selection,
) -> anyhow::Result<ExitCode> {
    let words: Vec<String> = words.into_iter().map(lossy).collect();
    ipvsadm_front_end(tool, &words, selection)
}

fn ipvsadm_front_end(
    tool: ipvsadm::Tool,
    words: &[String],
    selection: selection::Selection,
) -> anyhow::Result<ExitCode> {
    let mut table = remote_table::RemoteTable::new(selection.or_environment()?.client())?;
    let status = tool.run(
        words,
        &mut table,
        &mut std::io::stdin().lock(),
        &mut std::io::stdout().lock(),
        &mut std::io::stderr().lock(),
    );
    Ok(ExitCode::from(status))
}

/// ipvsadm's words are addresses and names: what is no text is refused as neither.
fn lossy(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

fn one_line(error: &anyhow::Error) -> String {
    // A configuration has as many lines as it has errors; anything else has one.
    if let Some(error) = error.downcast_ref::<rvs_control::source::LoadError>() {
        return error.to_string();
    }
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    chain.join(": ").replace(['\n', '\r'], " ")
}

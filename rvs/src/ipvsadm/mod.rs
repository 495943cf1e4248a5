//! The `ipvsadm` front end: ipvsadm 1.31's commands, messages, listings and exit status, byte for byte.
//!
//! It knows a director only as a [`Table`], and nothing of how one is reached. What ipvsadm has and RVS does not have
//! yet is understood, refused and named; nothing is accepted in silence. Known differences from the original: services
//! on unspecified or multicast addresses are refused, and persistence engines that would never be asked; services and
//! servers are sorted by plain address order, where the original's comparison overflows for addresses that lie more than
//! half the address space apart; thresholds are saved, and large marks as what they are.

mod command;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod names;
mod options;
mod parse;
mod popt;
mod print;
pub(crate) mod table;
mod tool;
mod values;

use std::io::{self, BufRead, BufWriter, Write};

use command::{Command, Failure, OptionsArgument, Reach, ServerArgument, Wanted, What};
use names::Names;
use print::Format;
use rvs_config::ServiceKey;
use table::{Table, TableError, TimeoutValues};

pub(crate) use tool::Tool;

const HELP: &str = include_str!("help.txt");
const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";

/// Does what the words after the program's name say, and returns the exit status.
pub(crate) fn run(
    words: &[String],
    table: &mut impl Table,
    stdin: &mut impl BufRead,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> u8 {
    run_with_names(
        words,
        &Names::of_this_machine(),
        table,
        stdin,
        stdout,
        stderr,
    )
}

/// The same, with names that need not be this machine's.
fn run_with_names(
    words: &[String],
    names: &Names,
    table: &mut impl Table,
    stdin: &mut impl BufRead,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> u8 {
    let result = match parse::parse(words, names) {
        Ok(Command::Restore) => {
            let status = restore(names, table, stdin, stdout, stderr);
            table.wait_until_published();
            return status;
        }
        Ok(command) => {
            let changes_servers = command.changes_servers();
            let result = execute(command, names, table, stdout);
            if changes_servers {
                table.wait_until_published();
            }
            result
        }
        Err(failure) => Err(failure),
    };
    match result {
        Ok(()) => 0,
        Err(failure) => report(&failure, stderr),
    }
}

/// Does each line. The exit status is the last line's, unless one ends it all.
fn restore(
    names: &Names,
    table: &mut impl Table,
    stdin: &mut impl BufRead,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> u8 {
    let mut status = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        match stdin.read_until(b'\n', &mut line) {
            Ok(0) => return status,
            Ok(_) => {}
            Err(error) => {
                return report(&Failure::usage(format!("standard input: {error}")), stderr);
            }
        }
        let text = String::from_utf8_lossy(&line);
        let words: Vec<String> = text
            .split([' ', '\t', '\r', '\n'])
            .filter(|word| !word.is_empty() && *word != "ipvsadm")
            .map(str::to_owned)
            .collect();
        if words.is_empty() {
            continue;
        }
        let result = match parse::parse(&words, names) {
            // Restoring from within would never end.
            Ok(Command::Restore) => Err(Failure::try_help()),
            Ok(command @ (Command::Help | Command::Version)) => {
                return finish(execute(command, names, table, stdout), stderr);
            }
            Ok(command) => execute(command, names, table, stdout),
            Err(failure) => Err(failure),
        };
        match result {
            Err(failure) if failure.reach == Reach::Program => return report(&failure, stderr),
            result => status = finish(result, stderr),
        }
    }
}

fn finish(result: Result<(), Failure>, stderr: &mut impl Write) -> u8 {
    match result {
        Ok(()) => 0,
        Err(failure) => report(&failure, stderr),
    }
}

fn report(failure: &Failure, stderr: &mut impl Write) -> u8 {
    if !failure.message.is_empty() {
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(stderr, "{}", failure.message);
    }
    failure.exit
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Failure {
        if let TableError::Visitor(kind, text) = error {
            return Failure::output(&io::Error::new(kind, text));
        }
        Failure::refused(error.to_string())
    }
}

fn execute(
    command: Command,
    names: &Names,
    table: &mut impl Table,
    stdout: &mut impl Write,
) -> Result<(), Failure> {
    let text = match command {
        Command::AddService { key, options } => match options {
            OptionsArgument::Possible(options) => return Ok(table.add_service(key, &options)?),
            OptionsArgument::Impossible(_) if is_known(key, table)? => {
                return Err(TableError::ServiceExists.into());
            }
            OptionsArgument::Impossible(error) => return Err(error.into()),
        },
        Command::EditService { key, options } => match options {
            OptionsArgument::Possible(options) => return Ok(table.edit_service(key, &options)?),
            OptionsArgument::Impossible(error) if is_known(key, table)? => {
                return Err(error.into());
            }
            OptionsArgument::Impossible(_) => return Err(TableError::NoSuchService.into()),
        },
        Command::DeleteService { key } => {
            return Ok(table.delete_service(key.ok_or(TableError::NoSuchService)?)?);
        }
        Command::Clear => return Ok(table.clear()?),
        Command::AddServer { key, server } => {
            let key = key.ok_or(TableError::ServiceNotDefined)?;
            return match server {
                ServerArgument::Possible(server) => Ok(table.add_server(key, server)?),
                ServerArgument::Nowhere(error) => Err(impossible_server(key, table, error)),
                ServerArgument::OutOfRange => {
                    Err(impossible_server(key, table, TableError::OutOfRange))
                }
            };
        }
        Command::EditServer { key, server } => {
            let key = key.ok_or(TableError::ServiceNotDefined)?;
            return match server {
                ServerArgument::Possible(server) => Ok(table.edit_server(key, server)?),
                ServerArgument::Nowhere(_) => {
                    Err(impossible_server(key, table, TableError::NoSuchDestination))
                }
                ServerArgument::OutOfRange => {
                    Err(impossible_server(key, table, TableError::OutOfRange))
                }
            };
        }
        Command::DeleteServer { key, server } => {
            return Ok(table.delete_server(key.ok_or(TableError::ServiceNotDefined)?, server)?);
        }
        Command::Zero { key: Wanted::All } => return Ok(table.zero(None)?),
        Command::Zero {
            key: Wanted::One(key),
        } => {
            return Ok(table.zero(Some(key.ok_or(TableError::NoSuchService)?))?);
        }
        Command::Set { change } => return Ok(table.set_timeouts(change)?),
        Command::List {
            what: What::Connections,
            format,
        } => return list_connections(format, names, table, stdout),
        Command::List { what, format } => list(what, format, names, table)?,
        Command::Save { format } => print::save(table.services()?, format, names),
        Command::Help => HELP.to_owned(),
        Command::Version => VERSION.to_owned(),
        // Only the callers can read the lines.
        Command::Restore => return Err(Failure::try_help()),
    };
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::output(&error))
}

fn is_known(key: ServiceKey, table: &mut impl Table) -> Result<bool, TableError> {
    Ok(table.services()?.iter().any(|service| service.key == key))
}

/// A server that cannot exist: wrong in itself, unless already its service is not there.
fn impossible_server(key: ServiceKey, table: &mut impl Table, error: TableError) -> Failure {
    match is_known(key, table) {
        Ok(true) => error.into(),
        Ok(false) => TableError::ServiceNotDefined.into(),
        Err(error) => error.into(),
    }
}

/// Writes the connections as they come.
fn list_connections(
    format: Format,
    names: &Names,
    table: &mut impl Table,
    stdout: &mut impl Write,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(stdout);
    let mut begun = false;
    let mut begin = |out: &mut BufWriter<_>| match std::mem::replace(&mut begun, true) {
        true => Ok(()),
        false => out.write_all(print::connections_title(format).as_bytes()),
    };
    let seen = table.connections(&mut |entry| {
        begin(&mut out)?;
        print::connection(&entry, format, names, &mut out)
    });
    // A director that does not answer has no title either.
    let result = seen
        .map_err(Failure::from)
        .and_then(|()| begin(&mut out).map_err(|error| Failure::output(&error)));
    let flushed = out.flush();
    result?;
    flushed.map_err(|error| Failure::output(&error))
}

fn list(
    what: What,
    format: Format,
    names: &Names,
    table: &mut impl Table,
) -> Result<String, Failure> {
    match what {
        // There may be too many for one text.
        What::Connections => Ok(print::connections_title(format)),
        What::Timeouts => {
            let TimeoutValues { tcp, tcp_fin, udp } = table.timeouts()?;
            let [tcp, tcp_fin, udp] = [tcp, tcp_fin, udp].map(|timeout| timeout.as_secs());
            Ok(format!("Timeout (tcp tcpfin udp): {tcp} {tcp_fin} {udp}\n"))
        }
        What::Services(Wanted::All) => {
            let header = print::header(table.size()?);
            Ok(header + &print::services(table.services()?, format, names))
        }
        What::Services(Wanted::One(key)) => {
            let service = table
                .services()?
                .into_iter()
                .find(|service| Some(service.key) == key);
            let missing = || Failure {
                message: TableError::NoSuchService.to_string(),
                exit: 1,
                reach: Reach::Program,
            };
            Ok(print::services(
                vec![service.ok_or_else(missing)?],
                format,
                names,
            ))
        }
    }
}

#[cfg(test)]
mod tests;

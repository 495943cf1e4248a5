//! The front end against what the real ipvsadm printed.

mod captures;
mod corpus;
mod hostile;
mod listing;
mod matrix;
mod memory;
mod probes;
mod restore;
mod session;

use super::names::{Names, Others};
use super::run_with_names;
pub(super) use memory::Memory;

/// The lines of Debian's file that the captures need.
const SERVICES: &str = "\
http 80/tcp www
https 443/tcp
snpp 444/tcp
http-alt 8080/tcp webcache
tproxy 8081/tcp
domain 53/tcp
domain 53/udp
sip 5060/tcp
sip 5060/udp
";

/// What the captures' machine had in its file.
const HOSTS: &str = "\
127.0.0.1 localhost
::1 localhost ip6-localhost
10.0.0.109 vip9.example.com vip9
2001:db8::109 vip6.example.com
10.0.0.110 a-very-long-host-name-that-does-not-fit.example.com
";

fn names() -> Names {
    Names::from_texts(HOSTS, SERVICES, Others::Nobody)
}

/// Runs one command line; standard output and error come together, as in the captures.
fn run(table: &mut Memory, words: &[&str], stdin: &str) -> (String, u8) {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = run_with_names(
        &words,
        &names(),
        table,
        &mut stdin.as_bytes(),
        &mut stdout,
        &mut stderr,
    );
    // The commands of the tests that print on both do so in this order.
    stdout.extend(stderr);
    (String::from_utf8(stdout).expect("UTF-8"), status)
}

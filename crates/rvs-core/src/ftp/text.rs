//! FTP's words that name an address, at the beginning of what was said: PORT (RFC 959), EPRT (RFC 2428) by the client, 227 and
//! 229 by the server. No other words matter here.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The address; 229 names none.
    pub address: Option<IpAddr>,
    /// The port; never 0.
    pub port: u16,
    /// Where in the text the address and port are written.
    pub from: usize,
    /// Where they end.
    pub to: usize,
}

/// What a client's command names.
pub fn command(said: &[u8]) -> Option<Named> {
    let (word, _) = said.split_at_checked(5)?;
    let from = 5 + leading_blanks(said.get(5..)?);
    if word.eq_ignore_ascii_case(b"PORT ") {
        six(said, from)
    } else if word.eq_ignore_ascii_case(b"EPRT ") {
        extended(said, from, false)
    } else {
        None
    }
}

/// What a server's reply names.
pub fn reply(said: &[u8]) -> Option<Named> {
    let (code, rest) = said.split_at_checked(4)?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    let bracket = line.iter().position(|byte| *byte == b'(');
    match code {
        // Its parentheses may be missing (RFC 1123 section 4.1.2.6): the numbers begin with the first digit.
        b"227 " => {
            let digit = line.iter().position(u8::is_ascii_digit)?;
            six(said, 4 + bracket.map_or(digit, |bracket| bracket + 1))
        }
        b"229 " => {
            let named = extended(said, 4 + bracket? + 1, true)?;
            (said.get(named.to) == Some(&b')')).then_some(named)
        }
        _ => None,
    }
}

/// The text for an address and port in 227's and PORT's form; the length is how much of the array it takes.
pub fn write_six(address: Ipv4Addr, port: u16) -> ([u8; 23], usize) {
    let [a, b, c, d] = address.octets();
    let [e, f] = port.to_be_bytes();
    let mut text = [0; 23];
    let mut length = 0;
    for (place, number) in [a, b, c, d, e, f].into_iter().enumerate() {
        if place > 0 {
            put(&mut text, &mut length, b',');
        }
        decimal(&mut text, &mut length, number.into());
    }
    (text, length)
}

/// The text for a port in 229's form.
pub fn write_extended(port: u16) -> ([u8; 23], usize) {
    let mut text = [0; 23];
    let mut length = 0;
    for _ in 0..3 {
        put(&mut text, &mut length, b'|');
    }
    decimal(&mut text, &mut length, port);
    put(&mut text, &mut length, b'|');
    (text, length)
}

fn put(text: &mut [u8], length: &mut usize, byte: u8) {
    if let Some(place) = text.get_mut(*length) {
        *place = byte;
        *length += 1;
    }
}

fn decimal(text: &mut [u8], length: &mut usize, number: u16) {
    let mut unit = 10_000;
    while unit > 0 {
        if number >= unit || unit == 1 {
            put(text, length, b'0' + (number / unit % 10) as u8);
        }
        unit /= 10;
    }
}

fn leading_blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b' ').count()
}

/// `h1,h2,h3,h4,p1,p2`
fn six(said: &[u8], from: usize) -> Option<Named> {
    let mut numbers = [0_u8; 6];
    let mut at = from;
    for (place, number) in numbers.iter_mut().enumerate() {
        if place > 0 {
            at = expect(said, at, b',')?;
        }
        let (value, next) = digits(said, at)?;
        *number = u8::try_from(value).ok()?;
        at = next;
    }
    let [a, b, c, d, e, f] = numbers;
    let port = u16::from_be_bytes([e, f]);
    (port != 0).then_some(Named {
        address: Some(Ipv4Addr::new(a, b, c, d).into()),
        port,
        from,
        to: at,
    })
}

/// `|1|address|port|`, `|2|address|port|` or, of a server, `|||port|`; any delimiter.
fn extended(said: &[u8], from: usize, bare: bool) -> Option<Named> {
    let delimiter = *said.get(from)?;
    if !(33..=126).contains(&delimiter) || delimiter.is_ascii_digit() {
        return None;
    }
    let field = |from: usize| -> Option<usize> {
        let rest = said.get(from..)?;
        // No address is longer.
        Some(from + rest.iter().take(48).position(|byte| *byte == delimiter)?)
    };
    let protocol_at = from + 1;
    let address_at = field(protocol_at)? + 1;
    let port_at = field(address_at)? + 1;
    let (port, end) = digits(said, port_at)?;
    let to = expect(said, end, delimiter)?;
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    let protocol = said.get(protocol_at..address_at - 1)?;
    let address = core::str::from_utf8(said.get(address_at..port_at - 1)?).ok()?;
    let address = match (bare, protocol) {
        (true, b"") if address.is_empty() => None,
        (false, b"1") => Some(address.parse::<Ipv4Addr>().ok()?.into()),
        (false, b"2") => Some(address.parse::<Ipv6Addr>().ok()?.into()),
        _ => return None,
    };
    Some(Named {
        address,
        port,
        from,
        to,
    })
}

fn expect(said: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*said.get(at)? == byte).then_some(at + 1)
}

/// A number of one to five digits, and where it ends.
fn digits(said: &[u8], at: usize) -> Option<(u32, usize)> {
    let rest = said.get(at..)?;
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 || count > 5 {
        return None;
    }
    let value = rest
        .get(..count)?
        .iter()
        .fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'));
    Some((value, at + count))
}

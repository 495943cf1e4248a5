//! The arguments of ipvsadm's options: numbers, addresses, flags.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use super::names::Names;

/// A decimal number as C's strtol reads it (blanks and a sign before it), if nothing follows and it is in range.
pub(super) fn number(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let blank = |c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    text.trim_start_matches(blank)
        .parse()
        .ok()
        .filter(|number| range.contains(number))
}

/// What an address with an optional port was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`, `host:http`, and the same without a port (IPv6 then without brackets).
///
/// A port's name belongs to a protocol; without one it is any protocol's.
pub(super) fn host_port(text: &str, protocol: Option<&str>, names: &Names) -> Option<HostPort> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, bracket_port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, Some(rest.strip_prefix(':')?))
        }
        None => (text, None),
    };
    if let Ok(v6) = host.parse::<Ipv6Addr>() {
        let port = bracket_port.map(|port| self::port(port, protocol, names));
        return with_port(IpAddr::V6(v6), port);
    }
    // Brackets around anything else only hide the port.
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(self::port(port, protocol, names))),
        None => (host, None),
    };
    let address = inet_aton(host).or_else(|| names.host(host))?;
    with_port(IpAddr::V4(address), port)
}

/// No port is fine, a wrong one is not.
fn with_port(address: IpAddr, port: Option<Option<u16>>) -> Option<HostPort> {
    match port {
        None => Some(HostPort {
            address,
            port: None,
        }),
        Some(port) => Some(HostPort {
            address,
            port: Some(port?),
        }),
    }
}

fn port(text: &str, protocol: Option<&str>, names: &Names) -> Option<u16> {
    match number(text, 0..=65535) {
        Some(number) => u16::try_from(number).ok(),
        // A name is one of a protocol: without a service there is none.
        None => names.port(text, protocol?),
    }
}

/// An IPv4 address in any of the C library's notations: one to four parts, each decimal, octal or hexadecimal, the
/// last of which fills what is left; blanks may follow.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    // Where a blank stands the C library stops.
    let end = text.find(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let text = text.get(..end.unwrap_or(text.len()))?;
    let mut address: u32 = 0;
    let parts: Vec<&str> = text.split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 {
        return None;
    }
    for (index, part) in leading.iter().enumerate() {
        let value = u8::try_from(c_number(part)?).ok()?;
        address |= u32::from(value) << (24 - 8 * index);
    }
    let rest = c_number(last)?;
    let limit = u32::MAX.checked_shr(8 * u32::try_from(leading.len()).ok()?)?;
    (rest <= limit).then(|| Ipv4Addr::from_bits(address | rest))
}

/// A number in C's notation.
fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match (
        text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")),
        text,
    ) {
        (Some(digits), _) => (digits, 16),
        (None, "0") => (text, 10),
        (None, text) => match text.strip_prefix('0') {
            Some(digits) => (digits, 8),
            None => (text, 10),
        },
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// A forwarding mark.
pub(super) fn fwmark(text: &str) -> Option<NonZeroU32> {
    let mark = number(text, 1..=i64::from(u32::MAX))?;
    u32::try_from(mark).ok().and_then(NonZeroU32::new)
}

/// The longest timeout that ipvsadm takes, in seconds: 31 days.
const LONGEST: i64 = 31 * 24 * 60 * 60;

/// A timeout in seconds from `least` on.
pub(super) fn timeout(text: &str, least: i64) -> Option<u64> {
    number(text, least..=LONGEST).and_then(|seconds| u64::try_from(seconds).ok())
}

/// C's atoi: the number at the beginning, or 0.
pub(super) fn atoi(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits
        .get(..end)
        .and_then(|digits| digits.parse::<i32>().ok())
        .map_or(0, |number| sign * i64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            (" 5", Some(5)),
            ("010", Some(10)),
            ("10", Some(10)),
        ] {
            assert_eq!(number(text, 0..=10), value);
        }
        for text in [
            "",
            "5 ",
            "5x",
            "0x5",
            "1.5",
            "-1",
            "11",
            "99999999999999999999",
            "-",
            "--",
        ] {
            assert_eq!(number(text, 0..=10), None, "{text}");
        }
        assert_eq!(
            (atoi("24"), atoi(" 24x"), atoi("x"), atoi("-3"), atoi("")),
            (24, 24, 0, -3, 0)
        );
    }

    #[test]
    fn old_notations_of_ipv4() {
        for (text, address) in [
            ("10.0.0.109", "10.0.0.109"),
            ("10.0.0.109 ", "10.0.0.109"),
            ("10.0.0.109 x", "10.0.0.109"),
            ("10.0.0", "10.0.0.0"),
            ("10.1", "10.0.0.1"),
            ("0x0a00006d", "10.0.0.109"),
            ("012.0.0.109", "10.0.0.109"),
            ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"),
            ("1.16777215", "1.255.255.255"),
        ] {
            assert_eq!(
                inet_aton(text)
                    .map(|address| address.to_string())
                    .as_deref(),
                Some(address),
                "{text}"
            );
        }
        for text in [
            "",
            ".",
            "1.",
            "1.2.3.4.5",
            "10.0.0.300",
            "256.0.0.1",
            "08.0.0.1",
            "4294967296",
            "+1.2.3.4",
            " 1.2.3.4",
            "1.16777216",
        ] {
            assert_eq!(inet_aton(text), None, "{text}");
        }
    }
}

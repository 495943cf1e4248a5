//! What FTP control connections say.

use std::net::{IpAddr, Ipv4Addr};

use rvs_core::ftp::text::{self, Named};

/// Any bytes name an address or do not. What does lies within the text, and can be written over: read again, it names
/// what was written, and nothing else changed.
pub fn ftp(data: &[u8]) {
    if let Some(named) = text::command(data) {
        assert!(named.address.is_some());
        check(data, &named);
    }
    let Some(named) = text::reply(data) else {
        return;
    };
    check(data, &named);
    let port = named.port ^ 0x1234 | 1;
    let address = Ipv4Addr::from(u32::from(named.port).wrapping_mul(0x9e37_79b9));
    let (words, length) = match named.address {
        Some(_) => text::write_six(address, port),
        None => text::write_extended(port),
    };
    let written = [&data[..named.from], &words[..length], &data[named.to..]].concat();
    let again = text::reply(&written).expect("what was written is understood");
    assert_eq!(again.port, port);
    assert_eq!(again.address, named.address.map(|_| IpAddr::V4(address)));
    assert_eq!((again.from, again.to), (named.from, named.from + length));
}

fn check(data: &[u8], named: &Named) {
    assert!(named.port != 0);
    assert!(named.from < named.to && named.to <= data.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn commands_are_understood() {
        for (said, wanted) in [
            (
                "PORT 192,0,2,10,4,1\r\n",
                Some((address("192.0.2.10"), 1025)),
            ),
            ("port   192,0,2,10,4,1", Some((address("192.0.2.10"), 1025))),
            (
                "EPRT |1|192.0.2.10|1025|\r\n",
                Some((address("192.0.2.10"), 1025)),
            ),
            (
                "eprt !2!2001:db8::1!65535!",
                Some((address("2001:db8::1"), 65535)),
            ),
            ("PORT 192,0,2,10,4\r\n", None),
            ("PORT 192,0,2,256,4,1\r\n", None),
            ("PORT 192,0,2,10,0,0\r\n", None),
            ("PORT 192,0,2,10,4,", None),
            ("EPRT |1|2001:db8::1|1025|", None),
            ("EPRT |2|192.0.2.10|1025|", None),
            ("EPRT |3|192.0.2.10|1025|", None),
            ("EPRT |1|192.0.2.10|65536|", None),
            ("EPRT |1|192.0.2.10|0|", None),
            ("EPRT |1|192.0.2.10|1025", None),
            ("EPRT |||1025|", None),
            ("LIST PORT 192,0,2,10,4,1", None),
            ("PORT", None),
            ("", None),
        ] {
            let named = text::command(said.as_bytes()).map(|named| (named.address, named.port));
            assert_eq!(named, wanted, "{said:?}");
        }
    }

    #[test]
    fn replies_are_understood() {
        for (said, wanted) in [
            (
                "227 Entering Passive Mode (10,1,0,21,195,80).\r\n",
                Some((address("10.1.0.21"), 50000)),
            ),
            ("229 Extended (|||50000|)\r\n", Some((None, 50000))),
            ("229 Extended (|||50000|\r\n", None),
            ("229 Extended (|1|10.1.0.21|50000|)\r\n", None),
            (
                "227 Entering Passive Mode 10,1,0,21,195,80\r\n",
                Some((address("10.1.0.21"), 50000)),
            ),
            (
                "227 Passive =10,1,0,21,195,80",
                Some((address("10.1.0.21"), 50000)),
            ),
            ("229 Extended |||50000|\r\n", None),
            ("227 No\r\n(10,1,0,21,195,80)\r\n", None),
            ("227-Entering Passive Mode (10,1,0,21,195,80)\r\n", None),
            ("230 (10,1,0,21,195,80)\r\n", None),
        ] {
            let named = text::reply(said.as_bytes()).map(|named| (named.address, named.port));
            assert_eq!(named, wanted, "{said:?}");
        }
    }

    #[test]
    fn words_are_as_long_as_they_need() {
        for (address, port, wanted) in [
            ([0, 0, 0, 0], 1, "0,0,0,0,0,1"),
            ([255, 255, 255, 255], 65535, "255,255,255,255,255,255"),
            ([10, 0, 0, 100], 50000, "10,0,0,100,195,80"),
        ] {
            let (words, length) = text::write_six(address.into(), port);
            assert_eq!(&words[..length], wanted.as_bytes());
        }
        for (port, wanted) in [(1, "|||1|"), (65535, "|||65535|"), (1000, "|||1000|")] {
            let (words, length) = text::write_extended(port);
            assert_eq!(&words[..length], wanted.as_bytes());
        }
    }
}

//! Answers to clients whose checksums were yet to be filled in, end to end: what is filled in on the answer's way back must
//! leave it right.

mod common;

use std::time::{Duration, Instant};

use common::{Cluster, Forward, Outcome};
use rvs_config::Method;
use rvs_lab::{Capture, Family, Vip};

const PATIENCE: Duration = Duration::from_secs(20);
const EMSGSIZE: i32 = 90;

/// The client leaves checksums to its device, and the director's device, which cannot fill any in, has its kernel do so.
#[test]
fn what_is_filled_in_leaves_answers_right() -> Outcome {
    let cluster = Cluster::full("")?;
    // This end alone: its other one hands packets over as they are.
    let off = ["ethtool", "-K", "eth0", "tx", "off"];
    cluster.net.director.run(&off)?;
    for family in Family::ALL {
        let way = Forward {
            vip: Vip::Tunnel,
            method: Method::Tunnel,
            family,
        };
        let mut capture = Capture::start(&cluster.net.client, "eth0")?;
        let socket = cluster.net.client.udp_socket(None, way.at(53))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // Fills the client's link, and not the tunnel.
        let large = match family {
            Family::V4 => vec![b'x'; 1500 - 20 - 8],
            Family::V6 => vec![b'x'; 1500 - 40 - 8],
        };
        socket.send(&large)?;
        let error = socket.recv(&mut [0; 64]).err().ok_or("answered")?;
        assert_eq!(error.raw_os_error(), Some(EMSGSIZE), "{family:?}: {error}");
        let until = Instant::now() + PATIENCE;
        let answer = loop {
            let frame = capture.next(PATIENCE)?.ok_or("no answer was seen")?;
            if let Some(message) = icmp_error(&frame.bytes, family) {
                break message;
            }
            assert!(Instant::now() < until, "{family:?}: no answer");
        };
        assert_eq!(sum(&answer), 0xffff, "{family:?}: {answer:02x?}");
    }
    Ok(())
}

/// The bytes that ICMP's checksum covers, if the frame is an error about something too large; of IPv6 with the pseudo-header.
fn icmp_error(frame: &[u8], family: Family) -> Option<Vec<u8>> {
    let packet = frame.get(14..)?;
    match family {
        Family::V4 => {
            let is_error = packet.first()? >> 4 == 4 && *packet.get(9)? == 1;
            let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let message = packet.get(20..length)?;
            (is_error && message.first() == Some(&3)).then(|| message.to_vec())
        }
        Family::V6 => {
            let is_error = packet.first()? >> 4 == 6 && *packet.get(6)? == 58;
            let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
            let message = packet.get(40..40 + length)?;
            let pseudo = [packet.get(8..40)?, &packet[4..6], &[0, 58]].concat();
            (is_error && message.first() == Some(&2)).then(|| [&pseudo, message].concat())
        }
    }
}

/// The Internet checksum's sum.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

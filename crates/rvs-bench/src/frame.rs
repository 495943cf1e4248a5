//! The frames that are sent: 60 bytes, TCP or UDP over IPv4, as the words of a plan (`plan.rs`).

use std::net::Ipv4Addr;

use crate::bed::plan;

/// What the frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first segment of a connection.
    Syn,
    /// A later one.
    Ack,
    /// A datagram.
    Udp,
}

/// A plan that sends frames of a kind to an address, by MAC addresses.
///
/// `flows` is how many flows to choose from at random; 0 takes each once, from flow 0 on.
pub(crate) fn plan_of(
    kind: Kind,
    macs: ([u8; 6], [u8; 6]),
    destination: Ipv4Addr,
    flows: u32,
) -> [u32; plan::WORDS] {
    let mut words = [0; plan::WORDS];
    words[plan::FLOWS] = flows;
    let frame = frame(kind, macs, destination);
    for (word, bytes) in words[plan::FRAME..].iter_mut().zip(frame.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

/// The frame of a plan.
pub(crate) fn plan_bytes(words: &[u32; plan::WORDS]) -> Vec<u8> {
    words[plan::FRAME..]
        .iter()
        .take(plan::FRAME_BYTES / 4)
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

/// The frame. Its checksums are right as long as the source address is the first flow's.
fn frame(
    kind: Kind,
    (to, from): ([u8; 6], [u8; 6]),
    destination: Ipv4Addr,
) -> [u8; plan::FRAME_BYTES] {
    let mut frame = [0; plan::FRAME_BYTES];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..14].copy_from_slice(&[8, 0]);
    let length = (plan::FRAME_BYTES - 14) as u8;
    let protocol = if kind == Kind::Udp { 17 } else { 6 };
    frame[14..16].copy_from_slice(&[0x45, 0]);
    frame[17] = length;
    frame[20] = 0x40;
    frame[22] = 64;
    frame[23] = protocol;
    frame[26..30].copy_from_slice(&plan::FIRST_SOURCE.to_be_bytes());
    frame[30..34].copy_from_slice(&destination.octets());
    frame[36..38].copy_from_slice(&80_u16.to_be_bytes());
    let sum_at = match kind {
        Kind::Udp => {
            frame[39] = length - 20;
            40
        }
        Kind::Syn | Kind::Ack => {
            frame[46] = 5 << 4;
            frame[47] = if kind == Kind::Syn { 0x02 } else { 0x10 };
            50
        }
    };
    let header = checksum(0, &frame[14..34]);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    // The source port and its complement make no difference.
    frame[plan::BALANCE..plan::BALANCE + 2].copy_from_slice(&[0xff; 2]);
    let pseudo = u32::from(protocol) + u32::from(length - 20);
    let transport = checksum(pseudo, &frame[26..]);
    frame[sum_at..sum_at + 2].copy_from_slice(&transport.to_be_bytes());
    frame
}

/// The Internet checksum.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let sum = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .fold(start, |sum, word| sum + word);
    let once = (sum & 0xffff) + (sum >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}

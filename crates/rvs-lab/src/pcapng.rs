//! Packets written as a pcapng file (draft-ietf-opsawg-pcapng), which tcpdump, tshark and Wireshark read. Every interface has
//! its name, and every packet its direction. All interfaces have Ethernet's link type: libpcap refuses files of several.

use crate::packet::Direction;
use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;

const IF_NAME: u16 = 2;
const IF_TIMESTAMP_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const END_OF_OPTIONS: u16 = 0;
/// Timestamps are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// One packet as it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// The interface's number in the file: that of [`PcapNg::add_interface`].
    pub(crate) interface: u32,
    pub(crate) nanoseconds: u64,
    pub(crate) direction: Direction,
    /// The frame's first bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) original_length: usize,
}

/// A file under way.
#[derive(Debug)]
pub(crate) struct PcapNg<W> {
    writer: W,
    snap_length: u32,
    interfaces: u32,
}

impl<W: Write> PcapNg<W> {
    pub(crate) fn start(writer: W, snap_length: u32) -> io::Result<Self> {
        let mut file = Self {
            writer,
            snap_length,
            interfaces: 0,
        };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The section's length is not known yet.
        body.extend(u64::MAX.to_le_bytes());
        file.write_block(SECTION, &body)?;
        Ok(file)
    }

    /// Adds an interface: its number in the file.
    pub(crate) fn add_interface(&mut self, name: &str) -> io::Result<u32> {
        let mut body = Vec::new();
        body.extend(LINKTYPE_ETHERNET.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(self.snap_length.to_le_bytes());
        push_option(&mut body, IF_NAME, name.as_bytes());
        push_option(&mut body, IF_TIMESTAMP_RESOLUTION, &[NANOSECONDS]);
        push_option(&mut body, END_OF_OPTIONS, &[]);
        self.write_block(INTERFACE, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    pub(crate) fn write_packet(&mut self, packet: Packet<'_>) -> io::Result<()> {
        let mut body = Vec::with_capacity(packet.bytes.len() + 48);
        body.extend(packet.interface.to_le_bytes());
        body.extend(((packet.nanoseconds >> 32) as u32).to_le_bytes());
        body.extend((packet.nanoseconds as u32).to_le_bytes());
        body.extend((packet.bytes.len() as u32).to_le_bytes());
        body.extend((packet.original_length as u32).to_le_bytes());
        body.extend(packet.bytes);
        pad(&mut body);
        let direction: u32 = match packet.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        push_option(&mut body, PACKET_FLAGS, &direction.to_le_bytes());
        push_option(&mut body, END_OF_OPTIONS, &[]);
        self.write_block(PACKET, &body)
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// A block: its type, its length, the body, and its length again.
    fn write_block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = (body.len() as u32 + 12).to_le_bytes();
        self.writer.write_all(&kind.to_le_bytes())?;
        self.writer.write_all(&length)?;
        self.writer.write_all(body)?;
        self.writer.write_all(&length)
    }
}

fn push_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// Everything in a block begins at a multiple of four bytes.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_padded_and_have_their_length_at_both_ends() {
        let mut bytes = Vec::new();
        let mut file = PcapNg::start(&mut bytes, 192).expect("a vector takes all");
        assert_eq!(file.add_interface("eth0").expect("interface"), 0);
        assert_eq!(file.add_interface("lo").expect("interface"), 1);
        file.write_packet(Packet {
            interface: 1,
            nanoseconds: 0x1_0000_0002,
            direction: Direction::Out,
            bytes: &[7; 5],
            original_length: 99,
        })
        .expect("packet");
        file.finish().expect("flush");
        let word = |place: usize| {
            let word = bytes[place..place + 4].try_into().expect("four bytes");
            u32::from_le_bytes(word)
        };
        let mut place = 0;
        let mut kinds = Vec::new();
        while place < bytes.len() {
            let length = word(place + 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(place + length - 4) as usize, length);
            kinds.push(word(place));
            if word(place) == PACKET {
                let words: Vec<u32> = (2..7).map(|number| word(place + 4 * number)).collect();
                assert_eq!(words, [1, 1, 2, 5, 99]);
            }
            place += length;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, PACKET]);
    }
}

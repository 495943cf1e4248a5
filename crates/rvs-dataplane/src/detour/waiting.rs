//! Fragments that came before their first: they wait until its note is there, or for too long.
//!
//! Every fragment that comes in goes out again. What may not wait any longer goes back as it is: the kernel side
//! finds no note for it, and drops and counts it.
//!
//! Waiting costs memory, which anybody could take with fragments of packets that never come whole: so there are few
//! places, and few for each source. A source may be forged, but then its limit only hits
//! what has the same source.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rvs_abi::{FragmentKey, family};

/// Fragments that wait at once.
const PLACES: usize = 1024;
/// Bytes that wait at once.
const BYTES: usize = 2 << 20;
/// Fragments of one source.
const PER_SOURCE: usize = 64;
/// How long the first fragment is waited for: disorder on a network is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

const ETHERNET_BYTES: usize = 14;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    packets: BTreeMap<FragmentKey, Packet>,
    sources: BTreeMap<[u32; 4], usize>,
    fragments: usize,
    bytes: usize,
}

/// Fragments of one packet, in the order in which they came.
#[derive(Debug)]
struct Packet {
    since: Instant,
    frames: Vec<Vec<u8>>,
}

impl Waiting {
    /// Lets a fragment wait; gives it back where it may not.
    pub(super) fn hold(&mut self, now: Instant, frame: Vec<u8>) -> Result<(), Vec<u8>> {
        let Some(key) = key_of(&frame) else {
            return Err(frame);
        };
        let of_source = self.sources.get(&key.source).copied().unwrap_or(0);
        if self.fragments >= PLACES
            || self.bytes.saturating_add(frame.len()) > BYTES
            || of_source >= PER_SOURCE
        {
            return Err(frame);
        }
        self.sources.insert(key.source, of_source + 1);
        self.fragments += 1;
        self.bytes += frame.len();
        let packet = self.packets.entry(key).or_insert(Packet {
            since: now,
            frames: Vec::new(),
        });
        packet.frames.push(frame);
        Ok(())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The fragments that wait no longer: those whose first was seen, as `seen` says, and those whose time is over.
    pub(super) fn release(
        &mut self,
        now: Instant,
        seen: impl Fn(&FragmentKey) -> bool,
    ) -> Vec<Vec<u8>> {
        let due: Vec<FragmentKey> = self
            .packets
            .iter()
            .filter(|(key, packet)| {
                now.saturating_duration_since(packet.since) >= PATIENCE || seen(key)
            })
            .map(|(key, _)| *key)
            .collect();
        let mut released = Vec::new();
        for key in due {
            let Some(packet) = self.packets.remove(&key) else {
                continue;
            };
            self.fragments -= packet.frames.len();
            self.bytes -= packet.frames.iter().map(Vec::len).sum::<usize>();
            if let Some(count) = self.sources.get_mut(&key.source) {
                *count -= packet.frames.len();
                if *count == 0 {
                    self.sources.remove(&key.source);
                }
            }
            released.extend(packet.frames);
        }
        released
    }
}

/// What the fragments of the packet have in common.
fn key_of(frame: &[u8]) -> Option<FragmentKey> {
    let packet = frame.get(ETHERNET_BYTES..)?;
    match packet.first()? >> 4 {
        4 => Some(FragmentKey {
            source: [word(packet, 12)?, 0, 0, 0],
            destination: [word(packet, 16)?, 0, 0, 0],
            identification: word(packet, 4)? & 0xffff,
            kind: FragmentKey::kind_of(*packet.get(9)?, family::V4),
        }),
        6 => key_of_v6(packet),
        _ => None,
    }
}

fn key_of_v6(packet: &[u8]) -> Option<FragmentKey> {
    const FRAGMENT: u8 = 44;
    let mut next = *packet.get(6)?;
    let mut at = 40;
    // Hop-by-hop options, routing, destination options.
    while matches!(next, 0 | 43 | 60) {
        next = *packet.get(at)?;
        at += 8 + usize::from(*packet.get(at + 1)?) * 8;
    }
    if next != FRAGMENT {
        return None;
    }
    let address = |at: usize| -> Option<[u32; 4]> {
        Some([
            word(packet, at)?,
            word(packet, at + 4)?,
            word(packet, at + 8)?,
            word(packet, at + 12)?,
        ])
    };
    Some(FragmentKey {
        source: address(8)?,
        destination: address(24)?,
        identification: word(packet, at + 4)?,
        kind: FragmentKey::kind_of(*packet.get(at)?, family::V6),
    })
}

/// A word in packet byte order.
fn word(packet: &[u8], at: usize) -> Option<u32> {
    let bytes = packet.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A later fragment from 192.0.2.`source` with this identification.
    fn fragment(source: u8, identification: u16, length: usize) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET_BYTES + 20 + length];
        let packet = &mut frame[ETHERNET_BYTES..];
        packet[0] = 0x45;
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        packet[7] = 8;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&[192, 0, 2, source]);
        packet[16..20].copy_from_slice(&[198, 51, 100, 1]);
        frame
    }

    #[test]
    fn released_in_order_once_the_first_was_seen() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let (a, b, c) = (fragment(1, 7, 8), fragment(1, 7, 16), fragment(1, 8, 8));
        for frame in [&a, &c, &b] {
            waiting.hold(now, frame.clone()).expect("room");
        }
        assert!(waiting.release(now, |_| false).is_empty());
        let first = key_of(&a).expect("a fragment");
        assert_eq!(waiting.release(now, |key| *key == first), [a, b]);
        assert!(!waiting.is_empty());
        assert_eq!(waiting.release(now, |_| true), [c]);
        assert!(waiting.is_empty());
        assert_eq!((waiting.fragments, waiting.bytes), (0, 0));
        assert!(waiting.sources.is_empty());
    }

    #[test]
    fn released_when_the_time_is_over() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.hold(now, fragment(1, 7, 8)).expect("room");
        let late = now + PATIENCE / 2;
        waiting.hold(late, fragment(1, 7, 16)).expect("room");
        assert!(waiting.release(late, |_| false).is_empty());
        assert_eq!(waiting.release(now + PATIENCE, |_| false).len(), 2);
    }

    #[test]
    fn one_source_does_not_take_all_places() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for identification in 0..PER_SOURCE as u16 {
            waiting
                .hold(now, fragment(1, identification, 8))
                .expect("room");
        }
        let one_more = fragment(1, 9999, 8);
        assert_eq!(waiting.hold(now, one_more.clone()), Err(one_more));
        waiting
            .hold(now, fragment(2, 1, 8))
            .expect("another source");
    }

    #[test]
    fn places_and_bytes_are_bounded() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let held = (0..PLACES * 2)
            .filter(|i| {
                let frame = fragment((i / PER_SOURCE) as u8, *i as u16, 8);
                waiting.hold(now, frame).is_ok()
            })
            .count();
        assert_eq!(held, PLACES);
        waiting.release(now, |_| true);
        let large = (0..PER_SOURCE)
            .filter(|i| waiting.hold(now, fragment(1, *i as u16, 60_000)).is_ok())
            .count();
        assert_eq!(large, BYTES / (60_000 + 34));
    }

    #[test]
    fn what_is_no_fragment_comes_back() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let mut six = vec![0; ETHERNET_BYTES];
        // Extension headers that lead beyond the packet, and one that names itself.
        six.extend([0x60, 0, 0, 0, 0, 8, 0, 64]);
        six.extend([0; 32]);
        six.extend([0, 255, 0, 0, 0, 0, 0, 0]);
        for frame in [Vec::new(), vec![0; 14], vec![0x45; 20], six] {
            assert_eq!(waiting.hold(now, frame.clone()), Err(frame));
        }
        assert!(waiting.is_empty());
    }
}

//! What a slot is found by, and where it may lie.

use rvs_abi::{Slot, slot::Link};

use crate::{LEVELS, tag};

/// The whole tuple as the packet shows it; `N` words an address. Packet byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Key<const N: usize> {
    /// Source address.
    pub source: [u32; N],
    /// Destination address.
    pub destination: [u32; N],
    /// Source and destination port, as they lie in the packet.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u32,
}

impl<const N: usize> Key<N> {
    /// The tuple of a packet the other way.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.rotate_left(16),
            protocol: self.protocol,
        }
    }

    /// Whether `slot` holds this tuple.
    #[inline(always)]
    pub fn is_of<const PAD: usize>(&self, slot: &Slot<N, PAD>) -> bool {
        let mut difference = slot.head.ports.load() ^ self.ports;
        difference |= u32::from(Link(slot.head.link.load()).protocol()) ^ self.protocol;
        for i in 0..N {
            difference |= slot.source[i].load() ^ self.source[i];
            difference |= slot.destination[i].load() ^ self.destination[i];
        }
        difference == 0
    }
}

/// SipHash's key. Secret: who knows it can aim at one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}

/// A key's hash: where its windows begin, and its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Hash {
    /// SipHash-1-3 (Aumasson, Bernstein 2012, with 1 and 3 rounds) over the addresses, the ports and
    /// the protocol, which takes the place of the length byte: every input of a family is of one length.
    #[inline(always)]
    pub fn of<const N: usize>(key: &Key<N>, with: HashKey) -> Self {
        let mut sip = Sip::new(with);
        if N == 1 {
            sip.block(u64::from(key.source[0]) | u64::from(key.destination[0]) << 32);
        } else {
            let mut i = 0;
            while i + 1 < N {
                sip.block(u64::from(key.source[i]) | u64::from(key.source[i + 1]) << 32);
                sip.block(u64::from(key.destination[i]) | u64::from(key.destination[i + 1]) << 32);
                i += 2;
            }
        }
        sip.block(u64::from(key.ports) | u64::from(key.protocol) << 56);
        Self(sip.finish())
    }

    /// As a number.
    #[inline(always)]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The hash that [`Hash::bits`] gave.
    #[inline(always)]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The first slot of the window at `level`.
    #[inline(always)]
    pub fn home(self, level: u32) -> u32 {
        let (low, high) = (self.0 as u32, (self.0 >> 32) as u32);
        match level % LEVELS {
            0 => low,
            1 => high,
            2 => low.wrapping_add(high.rotate_left(13)),
            _ => high.wrapping_add(low.rotate_left(11)),
        }
    }

    /// The fingerprint, for the tag word.
    #[inline(always)]
    pub fn fingerprint(self) -> u32 {
        ((self.0 >> 20) as u32 ^ (self.0 >> 43) as u32) & tag::FINGERPRINT
    }
}

/// SipHash-1-3 of the four bytes of a number, and of that the low half: what Linux calls `hsiphash_1u32` where words
/// have 64 bits.
#[inline(always)]
pub fn half_siphash(number: u32, with: HashKey) -> u32 {
    const BYTES: u64 = 4;
    let mut sip = Sip::new(with);
    sip.block(BYTES << 56 | u64::from(number));
    sip.finish() as u32
}

/// SipHash-1-3 of words that are of one number each time, and are told from tables' keys by `kind` (not a protocol
/// number, below 256), which takes the place of the length byte.
#[inline(always)]
pub fn digest<const N: usize, const M: usize>(
    kind: u8,
    first: [u64; N],
    then: &[u64; M],
    with: HashKey,
) -> u64 {
    let mut sip = Sip::new(with);
    for word in first {
        sip.block(word);
    }
    for word in then {
        sip.block(*word);
    }
    sip.block(u64::from(kind) << 56);
    sip.finish()
}

struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline(always)]
    fn new(key: HashKey) -> Self {
        Self {
            v0: key.k0 ^ 0x736f_6d65_7073_6575,
            v1: key.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.k0 ^ 0x6c79_6765_6e65_7261,
            v3: key.k1 ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline(always)]
    fn block(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

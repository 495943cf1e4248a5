//! Calls: what the SIP engine found in the message that made a template. The template's slot has only a digest of it.

/// The longest Call-ID, in bytes, that makes a template (`IP_VS_PEDATA_MAXLEN`).
pub const TEXT_MAX: u32 = 255;
/// Words of the text.
pub const TEXT_WORDS: usize = 32;

/// Whose call: a template, by its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct CallKey {
    /// The slot.
    pub index: u32,
    /// Its generation, and above bit 8 the IP version.
    pub kind: u32,
}

impl CallKey {
    /// The key of the template in this slot.
    #[inline(always)]
    pub const fn new(index: u32, generation: u32, family: u8) -> Self {
        Self {
            index,
            kind: generation & 0xff | (family as u32) << 8,
        }
    }

    /// The slot's generation.
    pub const fn generation(self) -> u32 {
        self.kind & 0xff
    }

    /// The IP version.
    pub const fn family(self) -> u8 {
        (self.kind >> 8) as u8
    }
}

/// What the template would be found by without an engine, and the Call-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// As much of the client's address as counts.
    pub client: [u32; 4],
    /// 0, and the virtual port, as they lie in a packet.
    pub ports: u32,
    /// Bytes of the text.
    pub length: u32,
    /// The Call-ID, with zeros behind it.
    pub text: [u64; TEXT_WORDS],
}

const _: () = assert!(size_of::<Call>() == 280);

impl Call {
    /// None.
    pub const NONE: Self = Self {
        client: [0; 4],
        ports: 0,
        length: 0,
        text: [0; TEXT_WORDS],
    };

    /// The Call-ID.
    #[cfg(not(target_arch = "bpf"))]
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        let bytes = self.text.iter().flat_map(|word| word.to_ne_bytes());
        bytes.take(self.length.min(TEXT_MAX) as usize)
    }
}

/// Calls of which the director keeps the text.
pub const CALLS: u32 = 256 * 1024;

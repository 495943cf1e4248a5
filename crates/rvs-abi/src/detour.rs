//! What the kernel side tells the daemon about a packet that goes the long way round: twelve bytes in the
//! place of the link addresses.

/// The words where a frame's link addresses were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// [`Ticket::FRAGMENT`] or another reason.
    pub kind: u8,
    /// The slot that the packet found; of a [`Ticket::CUT`] the bytes that its way takes.
    pub index: u32,
    /// That slot's generation.
    pub generation: u32,
}

impl Ticket {
    /// A fragment that came before its first.
    pub const FRAGMENT: u8 = 1;
    /// What an FTP control connection says.
    pub const FTP: u8 = 2;
    /// IPv4 that is too long for its way and may be fragmented.
    pub const CUT: u8 = 3;

    /// A unicast address of nobody's, and "RV".
    const MAGIC: u32 = 0x0056_5202;

    /// As words.
    #[inline(always)]
    pub const fn words(self) -> [u32; 3] {
        [
            Self::MAGIC | (self.kind as u32) << 24,
            self.index,
            self.generation,
        ]
    }

    /// From words, if they are a ticket.
    pub const fn from_words(words: [u32; 3]) -> Option<Self> {
        if words[0] & 0x00ff_ffff != Self::MAGIC {
            return None;
        }
        Some(Self {
            kind: (words[0] >> 24) as u8,
            index: words[1],
            generation: words[2],
        })
    }
}

/// From which link addresses packets come back. They are nobody's, and say what was done.
pub mod back {
    /// The packet came back as one.
    pub const WHOLE: [u8; 6] = [2, b'R', b'V', b'S', 0, 1];
    /// It is one of the fragments that were made of it.
    pub const CUT: [u8; 6] = [2, b'R', b'V', b'S', 0, 2];
}

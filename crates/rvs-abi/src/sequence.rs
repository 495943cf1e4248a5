//! Sequence adjustment: what the director adds to TCP's numbers where it changed what was said (FTP).

/// Whose numbers: a connection with NAT, by its request slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct SequenceKey {
    /// The request slot.
    pub index: u32,
    /// Its generation, and above bit 8 the IP version.
    pub kind: u32,
}

impl SequenceKey {
    /// The key of the connection of this slot.
    #[inline(always)]
    pub const fn new(index: u32, generation: u32, family: u8) -> Self {
        Self {
            index,
            kind: generation & 0xff | (family as u32) << 8,
        }
    }
}

/// One direction: numbers from `first` on, exclusive, are shifted by `after`, others by `before`
/// (`struct ip_vs_seq`). Host order, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Shift {
    /// The number, as its sender counts, of the last segment that was changed.
    pub first: u32,
    /// What is added behind it.
    pub after: u32,
    /// What is added up to it.
    pub before: u32,
}

impl Shift {
    /// The number that the receiver sees for the sender's `number`.
    #[inline(always)]
    pub const fn shifted(&self, number: u32) -> u32 {
        if is_after(number, self.first) {
            number.wrapping_add(self.after)
        } else {
            number.wrapping_add(self.before)
        }
    }

    /// The number that the sender means by what the receiver acknowledges.
    #[inline(always)]
    pub const fn unshifted(&self, acknowledged: u32) -> u32 {
        // IPVS adds `after`, which is one segment off where that got shorter.
        if is_after(acknowledged, self.first.wrapping_add(self.before)) {
            acknowledged.wrapping_sub(self.after)
        } else {
            acknowledged.wrapping_sub(self.before)
        }
    }

    /// After the segment `number` was made longer by `more`. What was sent before and is sent again changes nothing.
    pub const fn grown(&self, number: u32, more: u32) -> Self {
        let unused = self.after == 0 && self.before == 0;
        if more == 0 || !(unused || is_after(number, self.first)) {
            return *self;
        }
        Self {
            first: number,
            after: self.after.wrapping_add(more),
            before: self.after,
        }
    }
}

/// Whether `a` comes after `b` (RFC 9293 section 3.4).
#[inline(always)]
const fn is_after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// Both directions of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sequence {
    /// What the client sends.
    pub requests: Shift,
    /// What the server sends.
    pub replies: Shift,
}

/// Connections whose numbers can be adjusted at once: the one that was silent for the longest makes room.
pub const SEQUENCES: u32 = 16 * 1024;

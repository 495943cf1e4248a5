//! SCTP's checksum, which covers the packet but no address.

use crate::{Flow, Path, parse::sctp::HEADER};

/// Where the checksum lies in the common header.
const CHECKSUM: u32 = 8;

/// Makes the checksum that of the packet with `ports` in the place of its own.
///
/// A checksum of zero is one that hardware will fill in: the sender's kernel leaves it so, and nothing
/// else tells. (A whole one is zero once in 2^32 packets; that packet is lost at its receiver.)
#[inline(always)]
pub(super) fn mend_crc<P: Path>(path: &mut P, flow: &Flow, ports: u32) -> bool {
    if flow.flags & Flow::LATER_FRAGMENT != 0 {
        return true;
    }
    let at = flow.transport + CHECKSUM;
    let Some([old]) = path.read_words::<1>(at) else {
        return false;
    };
    if old == 0 || flow.ports == ports {
        return true;
    }
    // A super-packet's pieces have a checksum each, so it never has one itself; a fragment's is that of the whole.
    let length = flow
        .largest
        .saturating_sub(flow.transport.saturating_sub(flow.network));
    if flow.flags & (Flow::SEGMENTED | Flow::FIRST_FRAGMENT) != 0 || length < HEADER {
        return false;
    }
    path.write_words(at, &[old ^ path.crc_difference(flow.ports ^ ports, length)])
}

//! Cutting an IPv4 packet that is too long for its way into fragments (RFC 791 section 3.2).
//!
//! The packet is cut before the director rewrites it or puts it into a tunnel. So all forwarding methods share what
//! there is for fragments, and a tunnel's other end need not put outer packets together again.

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
/// The largest IPv4 header.
const MOST_HEADER_BYTES: usize = 60;
const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;
const OFFSET: u16 = 0x1fff;

/// The frames of the fragments, each of at most `room` bytes behind its link header. One that must not be fragmented,
/// which is cut all the same where a tunnel is told to, gets the identification `fresh`: its own may mean nothing
/// (RFC 6864 section 4.1). `None` if the frame holds no IPv4 packet that can be cut.
pub(super) fn cut(frame: &[u8], room: usize, fresh: u16) -> Option<Vec<Vec<u8>>> {
    let (link, packet) = frame.split_at_checked(ETHERNET_BYTES)?;
    let first = *packet.first()?;
    let header_bytes = usize::from(first & 15) * 4;
    let total = usize::from(half(packet, 2)?).min(packet.len());
    if first >> 4 != 4 || header_bytes < IPV4_BYTES {
        return None;
    }
    let (header, data) = packet.get(..total)?.split_at_checked(header_bytes)?;
    let flags = half(header, 6)?;
    let identification = if flags & DONT_FRAGMENT == 0 {
        half(header, 4)?
    } else {
        fresh
    };
    let later = later_header(header)?;
    let mut fragments = Vec::new();
    let (mut rest, mut header) = (data, header.to_vec());
    let mut offset = flags & OFFSET;
    loop {
        let fits = room.checked_sub(header.len())?;
        // All but the last have a multiple of eight bytes.
        let length = if rest.len() <= fits {
            rest.len()
        } else {
            fits & !7
        };
        if length == 0 && !rest.is_empty() {
            return None;
        }
        let (part, behind) = rest.split_at_checked(length)?;
        let more = if behind.is_empty() {
            flags & MORE_FRAGMENTS
        } else {
            MORE_FRAGMENTS
        };
        let whole = u16::try_from(header.len() + part.len()).ok()?;
        set(&mut header, 2, whole);
        set(&mut header, 4, identification);
        set(&mut header, 6, offset | more);
        set(&mut header, 10, 0);
        let checksum = checksum(&header);
        set(&mut header, 10, checksum);
        fragments.push([link, &header, part].concat());
        if behind.is_empty() {
            return Some(fragments);
        }
        offset = offset
            .checked_add(u16::try_from(length / 8).ok()?)
            .filter(|offset| *offset <= OFFSET)?;
        rest = behind;
        header.clone_from(&later);
    }
}

/// The header of all fragments but the first: only those options that say that they are to be copied.
fn later_header(header: &[u8]) -> Option<Vec<u8>> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;
    const COPIED: u8 = 0x80;
    let (fixed, mut options) = header.split_at_checked(IPV4_BYTES)?;
    let mut later = fixed.to_vec();
    while let Some((&kind, behind)) = options.split_first() {
        if kind == END {
            break;
        }
        if kind == NOTHING {
            options = behind;
            continue;
        }
        let length = usize::from(*behind.first()?);
        if length < 2 {
            return None;
        }
        let (option, behind) = options.split_at_checked(length)?;
        if kind & COPIED != 0 {
            later.extend_from_slice(option);
        }
        options = behind;
    }
    later.resize(later.len().next_multiple_of(4).min(MOST_HEADER_BYTES), END);
    *later.first_mut()? = 0x40 | (later.len() / 4) as u8;
    Some(later)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn set(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The internet checksum (RFC 1071) of a header of whole words.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4Header, Ipv4HeaderSlice, Ipv4Options, defrag::IpDefragPool};
    use proptest::prelude::*;

    use super::*;

    /// A datagram with this data and these options.
    fn packet(data: usize, options: &[u8]) -> (Ipv4Header, Vec<u8>) {
        let mut header = Ipv4Header::new(
            data as u16,
            64,
            etherparse::IpNumber::UDP,
            [192, 0, 2, 1],
            [198, 51, 100, 1],
        )
        .expect("fits");
        header.dont_fragment = false;
        header.identification = 77;
        header.options = Ipv4Options::try_from(options).expect("whole words");
        (header, (0..data).map(|i| ((i * 7) >> 3) as u8).collect())
    }

    fn framed(header: &Ipv4Header, data: &[u8]) -> Vec<u8> {
        let mut header = header.clone();
        header.header_checksum = header.calc_header_checksum();
        let link = [0x02, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 0];
        [&link[..], &header.to_bytes(), data].concat()
    }

    /// Headers that are right, and their data.
    fn parsed(frames: &[Vec<u8>]) -> Vec<(Ipv4Header, Vec<u8>)> {
        frames
            .iter()
            .map(|frame| {
                let packet = &frame[ETHERNET_BYTES..];
                let slice = Ipv4HeaderSlice::from_slice(packet).expect("a header");
                let header = slice.to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(usize::from(header.total_len), packet.len());
                (header, packet[slice.slice().len()..].to_vec())
            })
            .collect()
    }

    #[test]
    fn cut_as_rfc_791_says() {
        let (header, data) = packet(1480, &[]);
        let frames = cut(&framed(&header, &data), 1480, 5).expect("can be cut");
        let parts = parsed(&frames);
        let shape: Vec<_> = parts
            .iter()
            .map(|(header, data)| {
                let offset = header.fragment_offset.value();
                (offset, header.more_fragments, data.len())
            })
            .collect();
        assert_eq!(shape, [(0, true, 1456), (182, false, 24)]);
        assert!(parts.iter().all(|(header, _)| header.identification == 77));
        // One that fits stays as it is.
        let frame = framed(&header, &data);
        assert_eq!(cut(&frame, 1500, 5), Some(vec![frame]));
    }

    #[test]
    fn a_fragment_in_the_middle_stays_there() {
        let (mut header, data) = packet(1480, &[]);
        header.fragment_offset = 185.try_into().expect("small");
        header.more_fragments = true;
        let parts = parsed(&cut(&framed(&header, &data), 1480, 5).expect("can be cut"));
        let places: Vec<_> = parts
            .iter()
            .map(|(header, _)| (header.fragment_offset.value(), header.more_fragments))
            .collect();
        assert_eq!(places, [(185, true), (185 + 182, true)]);
    }

    #[test]
    fn copied_options_are_in_all_fragments_and_others_in_the_first() {
        // Record route, then router alert, which is copied, and a byte of nothing.
        let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1];
        let (header, data) = packet(300, &options);
        let parts = parsed(&cut(&framed(&header, &data), 128, 5).expect("can be cut"));
        assert_eq!(parts[0].0.options.as_slice(), options);
        assert!(parts.len() > 2);
        for (header, _) in &parts[1..] {
            assert_eq!(header.options.as_slice(), [148, 4, 0, 0]);
        }
    }

    #[test]
    fn where_fragmenting_is_forbidden_the_identification_is_new() {
        let (mut header, data) = packet(200, &[]);
        header.dont_fragment = true;
        for (header, _) in parsed(&cut(&framed(&header, &data), 128, 5).expect("can be cut")) {
            assert!(!header.dont_fragment);
            assert_eq!(header.identification, 5);
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let (header, data) = packet(200, &[]);
        let frame = framed(&header, &data);
        assert_eq!(cut(&frame, 27, 5), None);
        assert_eq!(cut(&frame, 0, 5), None);
        for length in 0..34 {
            assert_eq!(cut(&frame[..length], 128, 5), None);
        }
        let mut six = frame.clone();
        six[ETHERNET_BYTES] = 0x65;
        assert_eq!(cut(&six, 128, 5), None);
        // Beyond the last offset.
        let (mut last, data) = packet(200, &[]);
        last.fragment_offset = OFFSET.try_into().expect("the last");
        assert_eq!(cut(&framed(&last, &data), 128, 5), None);
        // Options that end too early.
        let (broken, data) = packet(200, &[148, 9, 0, 0]);
        assert_eq!(cut(&framed(&broken, &data), 128, 5), None);
    }

    proptest! {
        /// Another's reassembly gets the packet back.
        #[test]
        fn together_they_are_the_packet(length in 0_usize..9000, room in 68_usize..9000) {
            let (header, data) = packet(length, &[]);
            let frames = cut(&framed(&header, &data), room, 5).expect("can be cut");
            prop_assert!(frames.iter().all(|frame| frame.len() <= room + ETHERNET_BYTES));
            let mut pool = IpDefragPool::<(), ()>::new();
            // One that is no fragment is nothing to a pool.
            let mut whole = (frames.len() == 1).then(|| frames[0][34..].to_vec());
            for frame in frames.iter().filter(|_| frames.len() > 1) {
                let slice = etherparse::SlicedPacket::from_ethernet(frame).expect("a packet");
                let done = pool.process_sliced_packet(&slice, (), ()).expect("a fragment");
                whole = whole.or(done.map(|payload| payload.payload));
            }
            prop_assert_eq!(whole, Some(data));
        }

        #[test]
        fn no_frame_makes_it_panic(frame in proptest::collection::vec(any::<u8>(), 0..200), room: u16) {
            let _ = cut(&frame, usize::from(room), 5);
        }
    }
}

//! Packets that end too early or contradict themselves.

use std::ops::Range;

use rvs_abi::{Counter, Method};

use super::forwarding::{first, name_of, one};
use crate::{Case, Step, place::Family};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in Family::ALL {
        for protocol in [6, 17] {
            cases.extend(truncated(family, protocol));
            cases.push(short_transport(family, protocol));
        }
        cases.push(tcp_header_length(family));
        cases.push(udp_length(family));
    }
    cases.push(ipv4_header());
    cases.push(ipv6_header());
    cases
}

fn name(family: Family, protocol: u8, text: &str) -> String {
    format!("{}, {}: {text}", family.name(), name_of(protocol))
}

/// The length of the IP header.
const fn header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// The frame ends before the packet does: within the IP header, and behind it.
fn truncated(family: Family, protocol: u8) -> [Case; 2] {
    let frame = first(family, protocol).frame();
    let behind = 14 + header(family);
    let steps = |lengths: Range<usize>| {
        lengths
            .map(|length| Step::frame_drops(frame[..length].to_vec(), Counter::DropMalformed))
            .collect()
    };
    let world = one(family, protocol, Method::Nat);
    [
        Case::new(
            name(
                family,
                protocol,
                "an IP header cut off at any byte is dropped",
            ),
            &world,
            steps(14..behind),
        )
        .native_only("a test run refuses frames that end within the IP header"),
        Case::new(
            name(
                family,
                protocol,
                "a packet cut off at any byte behind its IP header is dropped",
            ),
            &world,
            steps(behind..frame.len()),
        ),
    ]
}

/// The packet says itself that it ends before its transport header does.
fn short_transport(family: Family, protocol: u8) -> Case {
    let whole = if protocol == 6 { 20 } else { 8 };
    let frame = first(family, protocol).frame();
    let steps = (0..whole).map(|transport| {
        let mut frame = frame[..14 + header(family) + transport].to_vec();
        set_length(&mut frame, family, header(family) + transport);
        Step::frame_passes(frame, Counter::PassMalformed)
    });
    Case::new(
        name(
            family,
            protocol,
            "a transport header too short is left to the host",
        ),
        &one(family, protocol, Method::Nat),
        steps.collect(),
    )
}

/// Writes an IP packet's length (IPv4's header checksum is not looked at).
fn set_length(frame: &mut [u8], family: Family, length: usize) {
    match family {
        Family::V4 => frame[16..18].copy_from_slice(&(length as u16).to_be_bytes()),
        Family::V6 => frame[18..20].copy_from_slice(&(length as u16 - 40).to_be_bytes()),
    }
}

fn tcp_header_length(family: Family) -> Case {
    let frame = first(family, 6).frame();
    // 24 bytes are there; four is too short, seven and more too long.
    let steps = [0, 1, 4, 7, 8, 15].map(|words: u8| {
        let mut frame = frame.clone();
        frame[14 + header(family) + 12] = words << 4;
        Step::frame_passes(frame, Counter::PassMalformed)
    });
    Case::new(
        name(
            family,
            6,
            "a data offset that is too small or too large is left to the host",
        ),
        &one(family, 6, Method::Nat),
        steps.to_vec(),
    )
}

fn udp_length(family: Family) -> Case {
    let frame = first(family, 17).frame();
    let present = (frame.len() - 14 - header(family)) as u16;
    let steps = [0, 1, 7, present + 1, 0xffff].map(|length: u16| {
        let mut frame = frame.clone();
        let at = 14 + header(family) + 4;
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Step::frame_passes(frame, Counter::PassMalformed)
    });
    Case::new(
        name(
            family,
            17,
            "a length that is too small or too large is left to the host",
        ),
        &one(family, 17, Method::Nat),
        steps.to_vec(),
    )
}

fn ipv4_header() -> Case {
    let frame = first(Family::V4, 6).frame();
    let total = (frame.len() - 14) as u16;
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = frame.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let drops = |frame| Step::frame_drops(frame, Counter::DropMalformed);
    let mut steps: Vec<Step> = (0..5)
        .map(|words| drops(with(14, &[0x40 | words])))
        .collect();
    // A header longer than the packet.
    steps.push(drops(with(14, &[0x4f])));
    steps.push(drops(with(14, &[0x65])));
    steps.push(drops(with(14, &[0x05])));
    steps.extend(
        [0, 19, total + 1, 0xffff].map(|length: u16| drops(with(16, &length.to_be_bytes()))),
    );
    Case::new(
        "IPv4: a header that contradicts itself is dropped",
        &one(Family::V4, 6, Method::Nat),
        steps,
    )
}

fn ipv6_header() -> Case {
    let frame = first(Family::V6, 6).frame();
    let payload = (frame.len() - 54) as u16;
    let drops = |frame| Step::frame_drops(frame, Counter::DropMalformed);
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = frame.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let extension = first(Family::V6, 6)
        .extension(0, &[1, 4, 0, 0, 0, 0])
        .frame();
    let mut longer = extension.clone();
    longer[55] = 200;
    let mut endless = extension;
    // A hop-by-hop header as the packet's last bytes, that says another follows.
    endless.truncate(62);
    endless[18..20].copy_from_slice(&8_u16.to_be_bytes());
    endless[54] = 60;
    let steps = vec![
        drops(with(14, &[0x40])),
        drops(with(14, &[0x00])),
        drops(with(18, &(payload + 1).to_be_bytes())),
        drops(with(18, &[0xff, 0xff])),
        drops(longer),
        drops(endless),
        Step::frame_passes(with(18, &[0, 0]), Counter::PassMalformed),
        // No next header.
        Step::frame_passes(with(20, &[59]), Counter::PassOther),
    ];
    Case::new(
        "IPv6: a header that contradicts itself is dropped",
        &one(Family::V6, 6, Method::Nat),
        steps,
    )
}

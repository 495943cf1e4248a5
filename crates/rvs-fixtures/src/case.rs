//! A named behaviour of the data path: packets in, verdicts, packets out, and what moved.

use std::fmt::Debug;

use rvs_abi::{Counter, ServerStats};

use crate::{Edit, Recipe, World, frame::Checksum, native::moved, recipe::ip_bytes};

/// One behaviour.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// The director.
    pub world: World,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Why `BPF_PROG_TEST_RUN` cannot express it, if so.
    pub native_only: Option<&'static str>,
}

/// What happens next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A packet comes in.
    Packet(Input, Box<Expected>),
    /// The configuration changes.
    Edit(Edit),
}

/// A packet that comes in.
#[derive(Clone, Debug)]
pub struct Input {
    /// The frame.
    pub bytes: Vec<u8>,
    /// Of a super-packet: segments, and bytes of payload in each.
    pub segments: Option<(u32, u32)>,
    /// Whether its transport checksum is whole.
    pub checksum: Checksum,
    /// Its firewall mark.
    pub mark: u32,
    /// Whether the director's own host sends it.
    pub is_local: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The host goes on with it.
    Pass,
    /// It ends here.
    Drop,
    /// It leaves by an interface.
    Transmit,
}

/// What a server's statistics moved by.
pub type Moved = (usize, ServerStats);

/// What must come out of a packet.
#[derive(Clone, Debug)]
pub struct Expected {
    verdict: Verdict,
    bytes: Vec<u8>,
    counters: Vec<Counter>,
    moved: Vec<Moved>,
    census: Vec<(usize, u32, u32)>,
}

/// What did come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    verdict: Verdict,
    bytes: Vec<u8>,
    counters: Vec<Counter>,
    moved: Vec<Moved>,
    census: Vec<(u32, u32)>,
}

/// Something that runs a case's packets.
pub trait Engine {
    /// Runs one packet.
    fn run(&mut self, input: &Input) -> Outcome;

    /// Changes the configuration.
    fn edit(&mut self, edit: Edit);
}

/// Runs a case, and panics at the first step that comes out otherwise.
pub fn check(case: &Case, engine: &mut impl Engine) {
    let mut census = vec![(0, 0); case.world.servers().count()];
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Edit(edit) => engine.edit(*edit),
            Step::Packet(input, expected) => {
                let outcome = engine.run(input);
                for (server, active, inactive) in &expected.census {
                    census[*server] = (*active, *inactive);
                }
                let wanted = Outcome {
                    verdict: expected.verdict,
                    bytes: expected.bytes.clone(),
                    counters: expected.counters.clone(),
                    moved: expected.moved.clone(),
                    census: census.clone(),
                };
                compare(&case.name, number, &wanted, &outcome);
            }
        }
    }
}

fn compare(name: &str, step: usize, wanted: &Outcome, outcome: &Outcome) {
    fn same<T: PartialEq + Debug>(place: &str, what: &str, wanted: &T, found: &T) {
        assert!(
            wanted == found,
            "{place}: {what}\nwanted {wanted:?}\n found {found:?}"
        );
    }
    let place = format!("\"{name}\", step {step}");
    same(
        &place,
        "verdict",
        &(wanted.verdict, &wanted.counters),
        &(outcome.verdict, &outcome.counters),
    );
    // A dropped packet's bytes are nobody's business.
    if wanted.verdict != Verdict::Drop {
        let (wanted, found) = (&wanted.bytes, &outcome.bytes);
        let differs = wanted.iter().zip(found).position(|(a, b)| a != b);
        let differs = differs.unwrap_or(wanted.len().min(found.len()));
        let what = format!(
            "bytes, from number {differs} of {} and {}",
            wanted.len(),
            found.len()
        );
        assert!(
            wanted == found,
            "{place}: {what}\nwanted {wanted:02x?}\n found {found:02x?}"
        );
    }
    same(&place, "statistics", &wanted.moved, &outcome.moved);
    same(
        &place,
        "active and inactive connections",
        &wanted.census,
        &outcome.census,
    );
}

impl Case {
    /// A case.
    pub fn new(name: impl Into<String>, world: &World, steps: Vec<Step>) -> Self {
        Self {
            name: name.into(),
            world: world.clone(),
            steps,
            native_only: None,
        }
    }

    /// That only the native engine can run, for this reason.
    pub fn native_only(mut self, reason: &'static str) -> Self {
        self.native_only = Some(reason);
        self
    }
}

impl Outcome {
    /// An outcome, from counters and statistics before and after.
    pub fn new(
        verdict: Verdict,
        bytes: Vec<u8>,
        counts: (&[u64], &[u64]),
        stats: (&[ServerStats], &[ServerStats]),
        census: Vec<(u32, u32)>,
    ) -> Self {
        let mut counters = Vec::new();
        for (counter, (before, after)) in Counter::ALL.iter().zip(counts.0.iter().zip(counts.1)) {
            for _ in *before..*after {
                counters.push(*counter);
            }
        }
        let differences = stats
            .0
            .iter()
            .zip(stats.1)
            .map(|(before, after)| moved(before, after));
        let moved = differences
            .enumerate()
            .filter(|(_, stats)| *stats != ServerStats::default())
            .collect();
        Self {
            verdict,
            bytes,
            counters,
            moved,
            census,
        }
    }

    /// What became of the packet.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The counters that moved.
    pub fn counters(&self) -> &[Counter] {
        &self.counters
    }

    /// The bytes in the end.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same without the note that XDP left a packet to tc.
    pub fn without(mut self, counter: Counter) -> Self {
        self.counters.retain(|counted| *counted != counter);
        self
    }
}

impl Step {
    /// A packet, and that the host goes on with it unchanged.
    pub fn passes(input: &Recipe, counter: Counter) -> Self {
        Self::frame_passes(input.frame(), counter)
    }

    /// Any frame, and that the host goes on with it unchanged.
    pub fn frame_passes(frame: Vec<u8>, counter: Counter) -> Self {
        Self::new(frame.clone(), Verdict::Pass, frame).counts(&[counter])
    }

    /// A packet, and that it ends here.
    pub fn drops(input: &Recipe, counter: Counter) -> Self {
        Self::frame_drops(input.frame(), counter)
    }

    /// Any frame, and that it ends here.
    pub fn frame_drops(frame: Vec<u8>, counter: Counter) -> Self {
        Self::new(frame, Verdict::Drop, Vec::new()).counts(&[counter])
    }

    /// A packet, and the packet that leaves.
    pub fn sends(input: &Recipe, output: &Recipe) -> Self {
        Self::new(input.frame(), Verdict::Transmit, output.frame())
    }

    /// A request, and the packet that goes to server `server` (counted as received).
    pub fn request(input: &Recipe, server: usize, output: &Recipe) -> Self {
        Self::sends(input, output).received(server)
    }

    /// A server's reply, and the packet that goes to the client.
    pub fn reply(input: &Recipe, server: usize, output: &Recipe) -> Self {
        Self::sends(input, output).replied(server)
    }

    /// A packet, and the answer that goes back where it came from.
    pub fn answers(input: &Recipe, answer: &Recipe, counters: &[Counter]) -> Self {
        let mut bytes = answer.frame();
        let frame = input.frame();
        bytes[0..6].copy_from_slice(&frame[6..12]);
        bytes[6..12].copy_from_slice(&frame[0..6]);
        Self::new(frame, Verdict::Transmit, bytes).counts(counters)
    }

    /// Any frame, and the frame that leaves.
    pub fn framed(input: Vec<u8>, output: Vec<u8>) -> Self {
        Self::new(input, Verdict::Transmit, output)
    }

    fn new(bytes: Vec<u8>, verdict: Verdict, output: Vec<u8>) -> Self {
        Self::Packet(
            Input {
                bytes,
                segments: None,
                checksum: Checksum::Whole,
                mark: 0,
                is_local: false,
            },
            Box::new(Expected {
                verdict,
                bytes: output,
                counters: Vec::new(),
                moved: Vec::new(),
                census: Vec::new(),
            }),
        )
    }

    fn with(mut self, change: impl FnOnce(&mut Input, &mut Expected)) -> Self {
        if let Self::Packet(input, expected) = &mut self {
            change(input, expected);
        }
        self
    }

    /// As a super-packet of `segments` with `size` bytes of payload each.
    pub fn segmented(self, segments: u32, size: u32) -> Self {
        self.with(|input, _| input.segments = Some((segments, size)))
    }

    /// With a checksum still to be filled in: both frames' are replaced by their pseudo-headers' sums.
    pub fn partial(self) -> Self {
        self.with(|input, expected| {
            input.checksum = Checksum::Partial;
            make_partial(&mut input.bytes);
            make_partial(&mut expected.bytes);
        })
    }

    /// Bearing this firewall mark.
    pub fn marked(self, mark: u32) -> Self {
        self.with(|input, _| input.mark = mark)
    }

    /// On its way out of the director's own host.
    pub fn local(self) -> Self {
        self.with(|input, _| input.is_local = true)
    }

    /// A packet, and what the host goes on with.
    pub fn becomes(input: &Recipe, output: &Recipe) -> Self {
        Self::new(input.frame(), Verdict::Pass, output.frame())
    }

    /// These counters move, each by one.
    pub fn counts(self, counters: &[Counter]) -> Self {
        self.with(|_, expected| {
            expected.counters.extend(counters);
            expected.counters.sort_unstable();
        })
    }

    /// Server `server` gets a new connection, and has these counts afterwards.
    pub fn opens(self, server: usize, active: u32, inactive: u32) -> Self {
        self.census(server, active, inactive)
            .moves(server, |stats, _| stats.connections += 1)
    }

    /// Server `server` has these active and inactive connections afterwards.
    pub fn census(self, server: usize, active: u32, inactive: u32) -> Self {
        self.with(|_, expected| expected.census.push((server, active, inactive)))
    }

    /// Server `server` receives the packet.
    pub fn received(self, server: usize) -> Self {
        self.moves(server, |stats, bytes| {
            stats.packets_in += 1;
            stats.bytes_in += bytes;
        })
    }

    /// Server `server` sent the packet.
    pub fn replied(self, server: usize) -> Self {
        self.moves(server, |stats, bytes| {
            stats.packets_out += 1;
            stats.bytes_out += bytes;
        })
    }

    /// Server `server`'s statistics move; the change is told the IP bytes of the packet.
    pub fn moves(self, server: usize, change: impl FnOnce(&mut ServerStats, u64)) -> Self {
        self.with(|input, expected| {
            let bytes = ip_bytes(&input.bytes).len() as u64;
            let known = expected
                .moved
                .iter_mut()
                .find(|(known, _)| *known == server);
            if let Some((_, stats)) = known {
                change(stats, bytes);
            } else {
                let mut stats = ServerStats::default();
                change(&mut stats, bytes);
                expected.moved.push((server, stats));
                expected.moved.sort_by_key(|(server, _)| *server);
            }
        })
    }
}

/// Replaces a transport checksum by its pseudo-header's sum, as the sender's kernel leaves it.
fn make_partial(frame: &mut [u8]) {
    let v6 = frame[12] == 0x86;
    let (protocol, header, addresses) = if v6 {
        (frame[20], 40, frame[22..54].to_vec())
    } else {
        (
            frame[23],
            usize::from(frame[14] & 15) * 4,
            frame[26..34].to_vec(),
        )
    };
    let length = (frame.len() - 14 - header) as u32;
    let mut sum = u32::from(protocol) + length;
    for pair in addresses.chunks_exact(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    if protocol == 132 {
        frame[14 + header + 8..14 + header + 12].fill(0);
        return;
    }
    let at = 14 + header + if protocol == 6 { 16 } else { 6 };
    frame[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
}

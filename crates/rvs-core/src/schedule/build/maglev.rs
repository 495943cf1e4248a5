//! Maglev's table (Eisenbud et al., NSDI 2016, section 3.4), weighted as in IPVS: the servers take entries in turn, each
//! the next free one of its own permutation of all entries, and as many in a turn as its weight asks for.

use rvs_abi::service::Region;

use super::{Candidate, hash};

/// A server's permutation, and how many entries it takes in a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turns {
    /// The entry that it wants next.
    entry: u32,
    /// From there to the one after it: above 0, below the table's size.
    skip: u32,
    /// Entries in a turn.
    entries: u32,
}

/// Fills the free table `entries`, of which there are as many as a prime says.
pub(super) fn fill(candidates: &mut [Candidate], entries: &mut [u16]) {
    let size = entries.len() as u32;
    let weights = || candidates.iter().map(|candidate| candidate.weight);
    let divisor = weights().fold(0, gcd);
    let largest = weights().max().unwrap_or(0);
    if divisor == 0 || size < 2 {
        return;
    }
    // Turns have half as many bits as the table's size: what is more is cut off at the low end.
    let bits = (u32::BITS - (size - 1).leading_zeros()) / 2;
    let cut = (u32::BITS - (largest / divisor).leading_zeros()).saturating_sub(bits);
    for candidate in candidates.iter_mut() {
        let number = hash::fold(&candidate.address).wrapping_add(u32::from(candidate.port));
        candidate.turns = Turns {
            entry: hash::keyed(number, hash::BEGIN, size),
            skip: hash::keyed(number, hash::STEP, size - 1) + 1,
            entries: match candidate.weight {
                0 => 0,
                weight => ((weight / divisor) >> cut).max(1),
            },
        };
    }
    populate(candidates, entries);
}

/// Lets the candidates take entries until none is free.
fn populate(candidates: &mut [Candidate], entries: &mut [u16]) {
    let size = entries.len() as u32;
    let mut free = entries.len();
    if candidates
        .iter()
        .all(|candidate| candidate.turns.entries == 0)
    {
        return;
    }
    while free > 0 {
        for candidate in candidates.iter_mut() {
            let turns = &mut candidate.turns;
            for _ in 0..turns.entries {
                if free == 0 {
                    return;
                }
                // One is free, and the steps reach all, since the size is prime.
                while let Some(entry) = entries.get_mut(turns.entry as usize) {
                    if *entry == Region::NOBODY {
                        *entry = candidate.position;
                        break;
                    }
                    turns.entry += turns.skip;
                    if turns.entry >= size {
                        turns.entry -= size;
                    }
                }
                free -= 1;
            }
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 7;

    fn table(permutations: &[(u16, u32, u32)]) -> [u16; SIZE as usize] {
        let mut candidates: [Candidate; 3] =
            core::array::from_fn(|_| Candidate::new([0; 4], 0, 0, 0));
        for (candidate, (position, offset, skip)) in candidates.iter_mut().zip(permutations) {
            candidate.position = *position;
            candidate.turns = Turns {
                entry: *offset,
                skip: *skip,
                entries: 1,
            };
        }
        let mut entries = [Region::NOBODY; SIZE as usize];
        populate(&mut candidates, &mut entries);
        entries
    }

    #[test]
    fn the_papers_example_comes_out() {
        assert_eq!(
            table(&[(0, 3, 4), (1, 0, 2), (2, 3, 1)]),
            [1, 0, 1, 0, 2, 2, 0]
        );
    }

    #[test]
    fn a_server_that_goes_moves_its_entries_and_one_more() {
        assert_eq!(table(&[(0, 3, 4), (2, 3, 1)]), [0, 0, 0, 0, 2, 2, 2]);
    }
}

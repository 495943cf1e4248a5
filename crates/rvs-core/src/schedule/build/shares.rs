//! The buckets of dh and sh.

use super::Candidate;

/// dh: each in turn.
pub(super) fn in_turn(candidates: &[Candidate], entries: &mut [u16]) {
    for (entry, candidate) in entries.iter_mut().zip(candidates.iter().cycle()) {
        *entry = candidate.position;
    }
}

/// sh as IPVS: each as often in a row as its weight, at least once, again and again until the table is full. Weights
/// whose sum is beyond the table leave the last without a bucket.
pub(super) fn in_rows(candidates: &[Candidate], entries: &mut [u16]) {
    let mut left = 0;
    let mut turn = candidates.iter().cycle();
    let mut position = None;
    for entry in entries {
        if left == 0 {
            let Some(candidate) = turn.next() else {
                return;
            };
            left = candidate.weight.max(1);
            position = Some(candidate.position);
        }
        left -= 1;
        if let Some(position) = position {
            *entry = position;
        }
    }
}

/// sh: each in a row, in proportion to its weight.
pub(super) fn by_weight(candidates: &[Candidate], entries: &mut [u16]) {
    let sum: u64 = candidates
        .iter()
        .map(|candidate| u64::from(candidate.weight))
        .sum();
    let size = entries.len() as u64;
    if sum == 0 {
        return;
    }
    let (mut passed, mut begin) = (0, 0);
    for candidate in candidates {
        passed += u64::from(candidate.weight);
        // 1,024 weights of 31 bits times 2^18 entries fit.
        let end = ((passed * size + sum / 2) / sum) as usize;
        if let Some(row) = entries.get_mut(begin..end) {
            row.fill(candidate.position);
        }
        begin = end;
    }
}

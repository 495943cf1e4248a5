//! Statistics: the CPUs added up, less what they were at the last zeroing. Underneath they only grow.

use rvs_abi::{Counter, Word64};

use crate::{Stats, object::Maps, shared::Shared};

/// What was ever counted under a server's index.
pub(crate) fn raw(maps: &Maps, index: u32) -> Stats {
    let Ok(values) = maps.server_stats.get(&index, 0) else {
        return Stats::default();
    };
    values
        .iter()
        .fold(Stats::default(), |sum, value| sum.plus(value.0.into()))
}

/// Every counter.
pub(crate) fn counters(maps: &Maps) -> Vec<(Counter, u64)> {
    let values = maps.counts.get(&0, 0).ok();
    let sum = |counter: &Counter| {
        values
            .iter()
            .flat_map(|values| values.iter())
            .map(|value| value.0[*counter as usize])
            .sum()
    };
    Counter::ALL
        .iter()
        .map(|counter| (*counter, sum(counter)))
        .collect()
}

/// What an index counts from.
pub(crate) fn base(bases: &Shared<[Word64; 8]>, index: u32) -> Stats {
    bases.get(index).map_or(Stats::default(), |words| Stats {
        connections: words[0].load(),
        packets_in: words[1].load(),
        packets_out: words[2].load(),
        bytes_in: words[3].load(),
        bytes_out: words[4].load(),
    })
}

/// Sets what an index counts from.
pub(crate) fn write_base(bases: &Shared<[Word64; 8]>, index: u32, stats: Stats) {
    let Some(words) = bases.get(index) else {
        return;
    };
    let values = [
        stats.connections,
        stats.packets_in,
        stats.packets_out,
        stats.bytes_in,
        stats.bytes_out,
    ];
    for (word, value) in words.iter().zip(values) {
        word.store(value);
    }
}

/// Counts from zero.
pub(crate) fn clear_base(bases: &Shared<[Word64; 8]>, index: u32) {
    write_base(bases, index, Stats::default());
}

//! Statistics: the CPUs added up. They only grow; beside them stands what they were at the last zeroing, which
//! listings take off.
//!
//! ```text
//!   server     counted = raw - base            (base: raw when the index was given out)
//!   service    counted = base + its servers'   (base: what servers that are gone had counted)
//!   director   counted = base + services'      (base: what services that are gone had counted)
//!   each       shown   = counted - zeroed
//! ```

use rvs_abi::{Counter, Word64};
use rvs_config::ServiceKey;

use crate::{
    ChangeError, Stats, Totals,
    dataplane::Dataplane,
    object::{Maps, SERVICES},
    rows::Rows,
    shared::Shared,
};

/// The index of the director itself, behind those of its services.
pub(crate) const WHOLE: u32 = SERVICES;

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

/// What an index has beside its counts.
pub(crate) fn base(bases: &Shared<[Word64; 8]>, index: u32) -> Stats {
    read(bases, 2 * index)
}

/// Sets what an index has beside its counts.
pub(crate) fn write_base(bases: &Shared<[Word64; 8]>, index: u32, stats: Stats) {
    write(bases, 2 * index, stats);
}

/// What an index had counted when it was zeroed last.
pub(crate) fn zeroed(bases: &Shared<[Word64; 8]>, index: u32) -> Stats {
    read(bases, 2 * index + 1)
}

/// Sets what an index had counted when it was zeroed last.
pub(crate) fn write_zeroed(bases: &Shared<[Word64; 8]>, index: u32, stats: Stats) {
    write(bases, 2 * index + 1, stats);
}

fn read(bases: &Shared<[Word64; 8]>, row: u32) -> Stats {
    bases.get(row).map_or(Stats::default(), |words| Stats {
        connections: words[0].load(),
        packets_in: words[1].load(),
        packets_out: words[2].load(),
        bytes_in: words[3].load(),
        bytes_out: words[4].load(),
    })
}

fn write(bases: &Shared<[Word64; 8]>, row: u32, stats: Stats) {
    let Some(words) = bases.get(row) else {
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

impl Dataplane {
    /// What a server ever counted.
    pub(crate) fn counted_by_server(&self, index: u32) -> Stats {
        counted_by_server(&self.maps, index)
    }

    /// What the director ever counted, and what of it since it was zeroed last.
    pub fn totals(&self) -> Totals {
        let counted = self.counted();
        Totals {
            counted,
            shown: counted.since(zeroed(&self.maps.service_base, WHOLE)),
        }
    }

    /// Zeroes the statistics of one service, or of everything.
    pub fn zero(&mut self, key: Option<&ServiceKey>) -> Result<(), ChangeError> {
        let keys: Vec<ServiceKey> = match key {
            Some(key) if self.rows.service(key).is_none() => {
                return Err(ChangeError::NoSuchService(*key));
            }
            Some(key) => vec![*key],
            None => self.rows.services.keys().copied().collect(),
        };
        for row in keys.iter().filter_map(|key| self.rows.service(key)) {
            let mut counted = base(&self.maps.service_base, row.index);
            for (index, _) in self.rows.servers_of(&row.key) {
                let stats = self.counted_by_server(index);
                write_zeroed(&self.maps.server_base, index, stats);
                counted = counted.plus(stats);
            }
            write_zeroed(&self.maps.service_base, row.index, counted);
        }
        if key.is_none() {
            write_zeroed(&self.maps.service_base, WHOLE, self.counted());
        }
        Ok(())
    }

    /// Keeps what a server that is gone had counted, with its service or else with the director.
    pub(crate) fn keep_counted(&self, service: Option<ServiceKey>, counted: Stats) {
        let service = service.and_then(|key| self.rows.service(&key));
        let index = service.map_or(WHOLE, |row| row.index);
        let kept = base(&self.maps.service_base, index).plus(counted);
        write_base(&self.maps.service_base, index, kept);
    }

    fn counted(&self) -> Stats {
        counted_by_all(&self.maps, &self.rows)
    }
}

/// What a server ever counted.
pub(crate) fn counted_by_server(maps: &Maps, index: u32) -> Stats {
    raw(maps, index).since(base(&maps.server_base, index))
}

/// What a director ever counted.
pub(crate) fn counted_by_all(maps: &Maps, rows: &Rows) -> Stats {
    let services = rows
        .services
        .values()
        .map(|row| base(&maps.service_base, row.index));
    let servers = rows
        .servers
        .keys()
        .map(|index| counted_by_server(maps, *index));
    let gone = base(&maps.service_base, WHOLE);
    services.chain(servers).fold(gone, Stats::plus)
}

//! Which parts of the members array are free: each service's list, with the table of its scheduler, has a stretch of it.
//!
//! A stretch that is no longer published rests before it is given out again, since a program may still read it. Of the
//! free stretches that are long enough the shortest is taken, and of these the first. Nothing here walks through all of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use rvs_abi::service::Region;

use crate::object::MEMBERS;

/// The parts of the array.
#[derive(Debug)]
pub(crate) struct Regions {
    /// Length by offset; no two touch each other.
    free: BTreeMap<u32, u32>,
    /// The same: length, then offset.
    by_length: BTreeSet<(u32, u32)>,
    /// Words that are free or rest.
    available: u32,
    /// No longer published, but perhaps still read; the oldest first.
    retired: VecDeque<(Region, Instant)>,
}

impl Default for Regions {
    fn default() -> Self {
        Self::of(MEMBERS)
    }
}

impl Regions {
    /// Longer than any program run.
    const GRACE: Duration = Duration::from_millis(500);

    /// An array of so many words, all free.
    fn of(words: u32) -> Self {
        let mut regions = Self {
            free: BTreeMap::new(),
            by_length: BTreeSet::new(),
            available: 0,
            retired: VecDeque::new(),
        };
        regions.give(0, words);
        regions.available = words;
        regions
    }

    /// A region that is published already.
    pub(crate) fn take(&mut self, region: Region) {
        let (offset, words) = (region.offset, region.words());
        let Some((&start, &length)) = self.free.range(..=offset).next_back() else {
            return;
        };
        let (before, taken) = (offset - start, offset.saturating_add(words));
        if words == 0 || taken > start + length {
            return;
        }
        self.remove(start, length);
        self.give(start, before);
        self.give(taken, start + length - taken);
        self.available -= words;
    }

    /// A free stretch for a list of `length` and a table of `table` entries.
    pub(crate) fn allocate(&mut self, (length, table): (u32, u32), version: u32) -> Option<Region> {
        self.allocate_at((length, table), version, Instant::now())
    }

    fn allocate_at(
        &mut self,
        (length, table): (u32, u32),
        version: u32,
        now: Instant,
    ) -> Option<Region> {
        while let Some((region, at)) = self.retired.front()
            && now.saturating_duration_since(*at) > Self::GRACE
        {
            let (offset, words) = (region.offset, region.words());
            self.retired.pop_front();
            self.give(offset, words);
        }
        let region = |offset| Region {
            offset,
            length,
            table,
            version,
        };
        let words = region(0).words();
        if words == 0 {
            return Some(region(0));
        }
        let &(found, offset) = self.by_length.range((words, 0)..).next()?;
        self.remove(offset, found);
        self.give(offset + words, found - words);
        self.available -= words;
        Some(region(offset))
    }

    /// Whether a region of `words` would find room in the place of another, once what is retired is free.
    pub(crate) fn fits(&self, own: Region, words: u32) -> bool {
        words <= self.available.saturating_add(own.words())
    }

    /// The region is no longer published.
    pub(crate) fn retire(&mut self, region: Region) {
        self.retire_at(region, Instant::now());
    }

    fn retire_at(&mut self, region: Region, now: Instant) {
        if region.words() > 0 {
            self.available += region.words();
            self.retired.push_back((region, now));
        }
    }

    /// A stretch is free, and one with its free neighbours.
    fn give(&mut self, mut offset: u32, mut length: u32) {
        if length == 0 {
            return;
        }
        if let Some((&start, &before)) = self.free.range(..offset).next_back()
            && start + before == offset
        {
            self.remove(start, before);
            (offset, length) = (start, length + before);
        }
        if let Some(&behind) = self.free.get(&(offset + length)) {
            self.remove(offset + length, behind);
            length += behind;
        }
        self.free.insert(offset, length);
        self.by_length.insert((length, offset));
    }

    fn remove(&mut self, offset: u32, length: u32) {
        self.free.remove(&offset);
        self.by_length.remove(&(length, offset));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(regions: &mut Regions, words: u32, now: Instant) -> Option<Region> {
        regions.allocate_at((words, 0), 1, now)
    }

    #[test]
    fn what_is_retired_rests_and_is_given_out_again() {
        let (mut regions, now) = (Regions::of(10), Instant::now());
        let a = words(&mut regions, 6, now).expect("room");
        let b = words(&mut regions, 4, now).expect("room");
        assert_eq!((a.offset, b.offset), (0, 6));
        assert_eq!(words(&mut regions, 1, now), None);
        regions.retire_at(a, now);
        assert_eq!(words(&mut regions, 1, now), None);
        assert!(regions.fits(Region::default(), 6));
        assert!(!regions.fits(Region::default(), 7));
        assert!(regions.fits(b, 10));
        let later = now + Regions::GRACE * 2;
        assert_eq!(
            words(&mut regions, 6, later).map(|region| region.offset),
            Some(0)
        );
    }

    #[test]
    fn the_shortest_that_is_long_enough() {
        let (mut regions, now) = (Regions::of(100), Instant::now());
        let of = |regions: &mut Regions, n| words(regions, n, now).expect("room");
        let long = of(&mut regions, 50);
        let _between = of(&mut regions, 10);
        let short = of(&mut regions, 5);
        let _behind = of(&mut regions, 35);
        regions.retire_at(long, now);
        regions.retire_at(short, now);
        let later = now + Regions::GRACE * 2;
        let offset =
            |regions: &mut Regions, n| words(regions, n, later).map(|region| region.offset);
        assert_eq!(offset(&mut regions, 4), Some(short.offset));
        assert_eq!(offset(&mut regions, 4), Some(long.offset));
        assert_eq!(offset(&mut regions, 0), Some(0));
    }

    #[test]
    fn what_was_published_already_is_not_given_out() {
        let mut regions = Regions::of(100);
        let known = |offset, length| Region {
            offset,
            length,
            ..Region::default()
        };
        regions.take(known(10, 20));
        regions.take(known(0, 0));
        // Nobody writes these; what a broken map says harms nothing.
        regions.take(known(15, 3));
        regions.take(known(90, 30));
        let now = Instant::now();
        assert_eq!(
            words(&mut regions, 10, now).map(|region| region.offset),
            Some(0)
        );
        assert_eq!(
            words(&mut regions, 70, now).map(|region| region.offset),
            Some(30)
        );
        assert_eq!(words(&mut regions, 1, now), None);
    }

    proptest! {
        /// No two overlap, nothing is lost, and in the end everything is one stretch again.
        #[test]
        fn regions_never_overlap(steps in proptest::collection::vec((0_u32..40, 0_usize..8), 1..200)) {
            let (mut regions, mut now) = (Regions::of(200), Instant::now());
            let mut held: Vec<Region> = Vec::new();
            for (length, which) in steps {
                now += Regions::GRACE / 3;
                if which < held.len() {
                    regions.retire_at(held.swap_remove(which), now);
                } else if let Some(region) = words(&mut regions, length, now) {
                    let end = region.offset + region.words();
                    prop_assert!(end <= 200);
                    for other in &held {
                        prop_assert!(end <= other.offset || other.offset + other.words() <= region.offset);
                    }
                    if region.words() > 0 {
                        held.push(region);
                    }
                }
                let taken: u32 = held.iter().map(|region| region.words()).sum();
                prop_assert_eq!(regions.available, 200 - taken);
            }
            for region in held {
                regions.retire_at(region, now);
            }
            now += Regions::GRACE * 2;
            prop_assert!(words(&mut regions, 200, now).is_some());
        }
    }
}

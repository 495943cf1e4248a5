//! Round robin: the next eligible server after the last chosen, circular
//! (`net/netfilter/ipvs/ip_vs_rr.c`).

use rvs_abi::{Service, service::Region};

use super::eligible;
use crate::{NONE, Tables, tables::Step};

struct Walk {
    region: Region,
    start: u32,
    avoid: u32,
    chosen: u32,
    next: u32,
}

impl<T: Tables> Step<T> for Walk {
    const TOGETHER: u32 = 4;

    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let mut position = self.start.wrapping_add(round);
        if position >= self.region.length {
            position = position.wrapping_sub(self.region.length);
        }
        let Some((index, _, _)) = eligible(
            tables,
            self.region.offset.wrapping_add(position),
            self.avoid,
        ) else {
            return true;
        };
        self.chosen = index;
        self.next = position + 1;
        false
    }
}

/// The server, and whether the cursor could be moved on.
#[inline(always)]
pub(super) fn choose<T: Tables>(
    tables: &T,
    service: &Service,
    region: Region,
    avoid: u32,
) -> (u32, bool) {
    let cursor = service.cursor.load();
    let position = cursor as u32 & 0xffff;
    let start = if position < region.length {
        position
    } else {
        0
    };
    let mut walk = Walk {
        region,
        start,
        avoid,
        chosen: NONE,
        next: 0,
    };
    tables.repeat(region.length, &mut walk);
    if walk.chosen == NONE {
        return (NONE, true);
    }
    let moved = cursor & !0xffff | u64::from(walk.next);
    (walk.chosen, service.cursor.cas(cursor, moved) == cursor)
}

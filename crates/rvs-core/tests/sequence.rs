//! Sequence adjustment: what one side sends and the other acknowledges stay in step, whatever grew or shrank.

use proptest::prelude::*;
use rvs_abi::Shift;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Segments of these lengths, each made longer or shorter: every number that was sent is seen where the receiver expects it, sent
    /// again too, and what the receiver acknowledges means what the sender sent.
    #[test]
    fn both_sides_stay_in_step(
        start in any::<u32>(),
        segments in prop::collection::vec((20_u32..100, -10_i32..10), 1..20),
    ) {
        let (mut shift, mut sent, mut seen) = (Shift::default(), start, start);
        for (length, more) in segments {
            let grown = shift.grown(sent, more as u32);
            prop_assert_eq!(grown.shifted(sent), seen);
            // Sent again, it changes nothing and is changed alike.
            prop_assert_eq!(grown.grown(sent, more as u32), grown);
            let (next, next_seen) = (
                sent.wrapping_add(length),
                seen.wrapping_add(length).wrapping_add(more as u32),
            );
            prop_assert_eq!(grown.shifted(next), next_seen);
            prop_assert_eq!(grown.unshifted(next_seen), next);
            prop_assert_eq!(grown.unshifted(seen), sent);
            (shift, sent, seen) = (grown, next, next_seen);
        }
    }
}

#[test]
fn nothing_changed_adjusts_nothing() {
    let shift = Shift::default().grown(77, 0);
    assert_eq!(shift, Shift::default());
    for number in [0, 1, u32::MAX, 1 << 31] {
        assert_eq!(shift.shifted(number), number);
        assert_eq!(shift.unshifted(number), number);
    }
}

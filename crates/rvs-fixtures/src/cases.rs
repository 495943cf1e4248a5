//! The table. One file a topic; names are sentences.

mod forwarding;

use crate::Case;

/// Every case.
pub fn cases() -> Vec<Case> {
    [forwarding::cases()].concat()
}

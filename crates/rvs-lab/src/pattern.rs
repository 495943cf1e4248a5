//! The bytes that transfers carry: the same stream for everybody, cheap to make, and any loss,
//! repetition or exchange of parts changes its hash.

use crate::lab::lock;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;

pub(crate) const BLOCK_BYTES: usize = 64 * 1024;

/// Makes the stream block by block: a fixed random block that begins with its number.
#[derive(Debug)]
pub(crate) struct Pattern {
    block: Vec<u8>,
    number: u64,
    left: u64,
}

impl Pattern {
    /// The first `bytes` bytes of the stream.
    pub(crate) fn new(bytes: u64) -> Self {
        // splitmix64: any full-period generator does.
        let mut state = 0_u64;
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        while block.len() < BLOCK_BYTES {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            block.extend((word ^ (word >> 31)).to_le_bytes());
        }
        Self {
            block,
            number: 0,
            left: bytes,
        }
    }

    /// The next part of the stream; empty at its end.
    pub(crate) fn next_block(&mut self) -> &[u8] {
        let length = usize::try_from(self.left)
            .unwrap_or(BLOCK_BYTES)
            .min(BLOCK_BYTES);
        self.left -= length as u64;
        if let Some(head) = self.block.first_chunk_mut() {
            *head = self.number.to_be_bytes();
        }
        self.number += 1;
        self.block.get(..length).unwrap_or_default()
    }

    /// Writes all that is left; returns its hash.
    pub(crate) fn write_to(mut self, writer: &mut impl Write) -> io::Result<String> {
        let mut hash = Sha256::new();
        loop {
            let block = self.next_block();
            if block.is_empty() {
                return Ok(hex(hash));
            }
            hash.update(block);
            writer.write_all(block)?;
        }
    }
}

/// The hash in hexadecimal digits.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The SHA-256, in hexadecimal digits, of the first `bytes` bytes that [`crate::Bulk`] and
/// nginx's `/big` send.
pub fn pattern_sha256(bytes: u64) -> String {
    // Tests transfer the same amount by many ways.
    static KNOWN: Mutex<BTreeMap<u64, String>> = Mutex::new(BTreeMap::new());
    if let Some(known) = lock(&KNOWN).get(&bytes) {
        return known.clone();
    }
    let hash = hash_pattern(bytes);
    lock(&KNOWN).insert(bytes, hash.clone());
    hash
}

fn hash_pattern(bytes: u64) -> String {
    let mut hash = Sha256::new();
    let mut pattern = Pattern::new(bytes);
    loop {
        let block = pattern.next_block();
        if block.is_empty() {
            return hex(hash);
        }
        hash.update(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_hash_agree() {
        for bytes in [0, 1, BLOCK_BYTES as u64, BLOCK_BYTES as u64 * 3 + 5] {
            let mut written = Vec::new();
            let hash = Pattern::new(bytes)
                .write_to(&mut written)
                .expect("a vector takes all");
            assert_eq!(written.len() as u64, bytes);
            assert_eq!(hash, pattern_sha256(bytes));
        }
    }

    #[test]
    fn blocks_differ() {
        let mut pattern = Pattern::new(BLOCK_BYTES as u64 * 2);
        let first = pattern.next_block().to_vec();
        assert_ne!(first, pattern.next_block());
        assert_ne!(pattern_sha256(10), pattern_sha256(11));
    }
}

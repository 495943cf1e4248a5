//! CRC32c (Castagnoli), by difference.
//!
//! A CRC is linear: packets of one length that differ by `d` have checksums that differ by the CRC of `d`, begun
//! with nothing and ended with nothing. Where `d` is one word at the packet's start, that is `d` times `x^(8 n)`,
//! `n` being the packet's length in bytes. So a packet's checksum follows a change of its ports without
//! the packet being read, and one that was wrong stays wrong.
//!
//! Numbers are polynomials with `x^0` in the highest bit (the CRC's own, "reflected" order).

use crate::tables::{Step, Tables};

/// What is left when `x^32` is divided by the polynomial.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What replacing the first word of `length` bytes does to their CRC32c: to be added to it by exclusive or.
/// `change` is the exclusive or of both words as a little-endian machine loads them.
#[inline(always)]
pub fn difference<T: Tables>(tables: &T, change: u32, length: u32) -> u32 {
    let mut product = Product {
        value: change,
        length,
    };
    tables.repeat(ROUNDS, &mut product);
    product.value
}

/// Lengths have so many bits.
const ROUNDS: u32 = 16;

/// A number on its way to being multiplied by `x^(8 * length)`, one bit of the length a round.
struct Product {
    value: u32,
    length: u32,
}

impl<T> Step<T> for Product {
    #[inline(always)]
    fn step(&mut self, _tables: &T, round: u32) -> bool {
        if self.length & 1 != 0 {
            self.value = multiply(self.value, power(round));
        }
        self.length >>= 1;
        self.length != 0
    }
}

/// `x^(8 * 2^k)` at place `k`.
const POWERS: [u32; 16] = {
    let mut powers = [1 << (31 - 8); 16];
    let mut k = 1;
    while k < powers.len() {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// One of them, chosen by comparisons: the kernel side has no constant memory.
#[inline(always)]
const fn power(k: u32) -> u32 {
    match k {
        0 => POWERS[0],
        1 => POWERS[1],
        2 => POWERS[2],
        3 => POWERS[3],
        4 => POWERS[4],
        5 => POWERS[5],
        6 => POWERS[6],
        7 => POWERS[7],
        8 => POWERS[8],
        9 => POWERS[9],
        10 => POWERS[10],
        11 => POWERS[11],
        12 => POWERS[12],
        13 => POWERS[13],
        14 => POWERS[14],
        _ => POWERS[15],
    }
}

/// The product, modulo the polynomial.
#[inline(always)]
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut shifted, mut product, mut k) = (a, 0, 0);
    while k < 32 {
        // `b`'s coefficient of `x^k`, as a mask.
        product ^= shifted & 0_u32.wrapping_sub(b >> (31 - k) & 1);
        shifted = shifted >> 1 ^ POLYNOMIAL & 0_u32.wrapping_sub(shifted & 1);
        k += 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    /// Bit by bit, as the definition has it (RFC 9260 appendix A).
    fn whole(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 != 0 {
                    crc >> 1 ^ POLYNOMIAL
                } else {
                    crc >> 1
                };
            }
        }
        !crc
    }

    #[test]
    fn the_plain_one_knows_the_check_value() {
        assert_eq!(whole(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn every_length_and_many_words() {
        let mut seed = 0x1234_5678_u32;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed
        };
        for length in (4..600).chain([1480, 4095, 4096, 4097, 32768, 65515, 65535]) {
            let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            let old = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let before = whole(&bytes);
            for new in [old, 0, u32::MAX, next(), old ^ 1, old ^ 1 << 31] {
                bytes[..4].copy_from_slice(&new.to_le_bytes());
                let mut product = Product {
                    value: old ^ new,
                    length: length as u32,
                };
                let mut round = 0;
                while product.step(&(), round) {
                    round += 1;
                }
                assert!(round < ROUNDS);
                let found = before ^ product.value;
                assert_eq!(found, whole(&bytes), "{length} bytes, {old:x} to {new:x}");
            }
        }
    }
}

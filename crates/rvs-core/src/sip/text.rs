//! Finding the Call-ID in a SIP message (RFC 3261 section 20.8), letter by letter.
//!
//! What counts is what IPVS's engine takes: a line that begins with `Call-ID`, in any case, or with its compact form
//! `i`; a colon, with blanks and folded lines around it; a value made of a word, or two with an `@` between them (RFC
//! 3261 section 25.1), not longer than [`TEXT_MAX`]; and the end of the line, by CR, LF or both. The first line is none.
//! What is no such line is passed over; a value that is one up to a strange letter, or that the message's end cuts
//! off, is none, and ends the search.
//!
//! ```text
//! LINE ──► BREAK ──► NAME 1..=6 ──► NAMED ──► COLON ──► WORD ──► AT ──► DOMAIN ──► FOUND
//!   ▲        │  └──► COMPACT ────────┘                    └──────────────► BLANKS ────┘
//!   └────────┴── what does not fit
//! ```

use rvs_abi::call::TEXT_MAX;

use crate::{Tables, tables::Step};

/// Bytes of a message in which the Call-ID is looked for.
pub const MESSAGE_MAX: u32 = 4096;

/// Letters that are looked at together where the rest of a line does not matter.
pub const RUN: u32 = 8;

/// The letters of a message.
pub trait Letters {
    /// The one at `place`; anything where there is none.
    fn letter(&self, place: u32) -> u8;

    /// The [`RUN`] letters from `place` on, in memory's order.
    fn run(&self, place: u32) -> u64 {
        let mut letters = [0; RUN as usize];
        for (place, letter) in (place..).zip(&mut letters) {
            *letter = self.letter(place);
        }
        u64::from_ne_bytes(letters)
    }
}

impl Letters for &[u8] {
    fn letter(&self, place: u32) -> u8 {
        self.get(place as usize).copied().unwrap_or(0)
    }
}

/// In a line of which the rest does not matter.
const LINE: u32 = 0;
// 1..=6: so many letters of the name were seen.
/// Behind the name: blanks, and then a colon.
const NAMED: u32 = 7;
/// Behind the name's compact form.
const COMPACT: u32 = 8;
/// As [`NAMED`], behind the end of a line: it goes on if a blank follows.
const NAMED_FOLD: u32 = 9;
/// Behind the colon.
const COLON: u32 = 10;
/// As [`COLON`], behind the end of a line.
const COLON_FOLD: u32 = 11;
/// In the value's first word.
const WORD: u32 = 12;
/// Behind the `@`.
const AT: u32 = 13;
/// In the second word.
const DOMAIN: u32 = 14;
/// In blanks behind the value.
const BLANKS: u32 = 15;
/// Behind the end of a line.
const BREAK: u32 = 16;
/// At the end of the value's line.
const FOUND: u32 = 17;
/// There is none.
const BAD: u32 = 18;

/// The name in small letters, the first one lowest.
const NAME: u64 = u64::from_le_bytes(*b"call-id\0");

/// A search in progress.
#[derive(Debug)]
pub struct Scanner<L> {
    letters: L,
    /// The next letter.
    place: u32,
    /// Where there are no more.
    end: u32,
    state: u32,
    start: u32,
    length: u32,
    /// Whether blanks behind the value make it none.
    exact: u32,
}

/// Finds the Call-ID in the first `length` letters: its place in the high half and its length in the low one; or 0.
/// With `exact` not 0, blanks behind it make it none, as in IPVS.
#[inline(always)]
pub fn scan<T: Tables, L: Letters>(tables: &T, letters: L, length: u32, exact: u32) -> u64 {
    let mut scanner = Scanner {
        letters,
        place: tables.veiled(0),
        end: length.min(MESSAGE_MAX),
        state: tables.veiled(LINE),
        start: tables.veiled(0),
        length: tables.veiled(0),
        exact,
    };
    // Each round takes a letter at least.
    tables.repeat(length.min(MESSAGE_MAX), &mut scanner);
    if scanner.state == FOUND {
        u64::from(scanner.start) << 32 | u64::from(scanner.length)
    } else {
        0
    }
}

impl<T: Tables, L: Letters> Step<T> for Scanner<L> {
    #[inline(always)]
    fn step(&mut self, _tables: &T, _round: u32) -> bool {
        let place = self.place;
        if place >= self.end {
            return false;
        }
        if self.state == LINE && !has_line_end(self.letters.run(place)) {
            self.place = place + RUN;
            return true;
        }
        self.place = place + 1;
        let letter = self.letters.letter(place);
        self.state = match letter {
            b'\r' | b'\n' => at_line_end(self.state),
            b' ' | b'\t' => self.at_blank(),
            letter => self.at_letter(letter, place),
        };
        if self.length > TEXT_MAX {
            self.state = BAD;
        }
        self.state < FOUND
    }
}

/// Whether one of the letters ends a line.
#[inline(always)]
fn has_line_end(run: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    // Not 0 if some byte is; only which one is not certain.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & ONES << 7;
    zeros(run ^ (ONES * b'\r' as u64)) | zeros(run ^ (ONES * b'\n' as u64)) != 0
}

#[inline(always)]
fn at_line_end(state: u32) -> u32 {
    match state {
        WORD | DOMAIN | BLANKS => FOUND,
        NAMED | COMPACT | NAMED_FOLD => NAMED_FOLD,
        COLON | COLON_FOLD => COLON_FOLD,
        _ => BREAK,
    }
}

impl<L> Scanner<L> {
    #[inline(always)]
    fn at_blank(&self) -> u32 {
        match self.state {
            NAMED | COMPACT | NAMED_FOLD => NAMED,
            COLON | COLON_FOLD => COLON,
            WORD | DOMAIN if self.exact != 0 => BAD,
            WORD | DOMAIN | BLANKS => BLANKS,
            _ => LINE,
        }
    }

    #[inline(always)]
    fn at_letter(&mut self, letter: u8, place: u32) -> u32 {
        let small = letter | 0x20;
        match self.state {
            BREAK | NAMED_FOLD | COLON_FOLD if small == b'c' => 1,
            BREAK | NAMED_FOLD | COLON_FOLD if small == b'i' => COMPACT,
            seen @ 1..NAMED if small == (NAME >> (seen * 8)) as u8 => seen + 1,
            NAMED | COMPACT if letter == b':' => COLON,
            COLON if is_word(letter) => {
                self.start = place;
                self.length = 1;
                WORD
            }
            WORD if letter == b'@' => {
                self.length += 1;
                AT
            }
            AT if is_word(letter) => {
                self.length += 1;
                DOMAIN
            }
            state @ (WORD | DOMAIN) if is_word(letter) => {
                self.length += 1;
                state
            }
            WORD | DOMAIN | BLANKS => BAD,
            _ => LINE,
        }
    }
}

/// Whether the letter may stand in a word (RFC 3261 section 25.1).
#[inline(always)]
fn is_word(letter: u8) -> bool {
    const WORDS: [u64; 2] = word_letters();
    let bits = if letter & 0x40 == 0 {
        WORDS[0]
    } else {
        WORDS[1]
    };
    letter < 0x80 && bits >> (letter & 0x3f) & 1 != 0
}

const fn word_letters() -> [u64; 2] {
    let others = b"-.!%*_+`'~()<>:\\\"/[]?{}";
    let mut bits = [0; 2];
    let mut letter = 0;
    while letter < 128 {
        let mut is = (letter as u8).is_ascii_alphanumeric();
        let mut i = 0;
        while i < others.len() {
            is |= others[i] as usize == letter;
            i += 1;
        }
        if is {
            bits[letter >> 6] |= 1 << (letter & 0x3f);
        }
        letter += 1;
    }
    bits
}

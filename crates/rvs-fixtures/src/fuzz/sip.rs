//! What SIP messages say of their call.

use rvs_core::sip::text::{MESSAGE_MAX, scan};

use crate::Memory;

/// Any bytes have a Call-ID or not, and the search, letter by letter, finds what reading line by line does.
pub fn sip(data: &[u8]) {
    let data = &data[..data.len().min(MESSAGE_MAX as usize)];
    for exact in [false, true] {
        let found = find(data, exact);
        assert_eq!(found, read(data, exact), "{exact} {data:?}");
        if let Some(value) = found {
            assert!((1..=255).contains(&value.len()));
            assert!(value.iter().all(u8::is_ascii_graphic));
        }
    }
}

fn find(data: &[u8], exact: bool) -> Option<&[u8]> {
    let found = scan(&Memory::default(), data, data.len() as u32, exact.into());
    let (place, length) = ((found >> 32) as usize, found as u32 as usize);
    (found != 0).then(|| &data[place..place + length])
}

/// The same by lines.
fn read(data: &[u8], exact: bool) -> Option<&[u8]> {
    for start in 1..data.len() {
        let is_start = is_end(data[start - 1]) && !is_end(data[start]) && !is_blank(data[start]);
        let value = is_start.then(|| &data[start..]).and_then(value);
        let Some(value) = value else {
            continue;
        };
        let word = leading(value, is_word);
        let mut length = word;
        if value.get(word) == Some(&b'@') {
            length = word + 1 + leading(&value[word + 1..], is_word);
            if length == word + 1 && length <= 255 {
                continue;
            }
        }
        if length > 255 {
            return None;
        }
        let blanks = leading(&value[length..], is_blank);
        let ends = value.get(length + blanks).copied().is_some_and(is_end);
        return (ends && !(exact && blanks > 0)).then(|| &value[..length]);
    }
    None
}

/// What follows the name and the colon, if that may be a value.
fn value(line: &[u8]) -> Option<&[u8]> {
    let (name, compact) = (line.get(..7), line.get(..1));
    let rest = if name.is_some_and(|name| name.eq_ignore_ascii_case(b"call-id")) {
        &line[7..]
    } else if compact.is_some_and(|name| name.eq_ignore_ascii_case(b"i")) {
        &line[1..]
    } else {
        return None;
    };
    let rest = unfolded(unfolded(rest)?.strip_prefix(b":")?)?;
    is_word(*rest.first()?).then_some(rest)
}

/// What follows blanks and folded lines; none where the line ends.
fn unfolded(text: &[u8]) -> Option<&[u8]> {
    let count = leading(text, |byte| is_blank(byte) || is_end(byte));
    let ends = count > 0 && is_end(text[count - 1]);
    (!ends).then(|| &text[count..])
}

fn leading(text: &[u8], is: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| is(**byte)).count()
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// RFC 3261 section 25.1.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines' parts in every order of four: what random bytes never say.
    #[test]
    fn every_short_message() {
        let parts: [&[u8]; 12] = [
            b"\r", b"\n", b" ", b"call-id", b"I", b":", b"a", b"@", b"b;", b"c", b"\t", b"i:x@y\r",
        ];
        let mut found = 0;
        for number in 0..12_usize.pow(5) {
            // The message begins at any place of a run.
            let mut text = vec![b'x'; number % 9];
            text.extend(b"\r\n");
            let mut rest = number;
            for _ in 0..5 {
                text.extend(parts[rest % 12]);
                rest /= 12;
            }
            sip(&text);
            text.extend(b":v\r\ncall-id:w@z\n");
            sip(&text);
            found += u32::from(find(&text, false).is_some());
        }
        assert!(found > 100_000, "{found}");
    }
}

//! Rust text without its comments and the contents of its literals, so that words and braces in them do not count.

/// `text` with every byte of a comment, and of what stands between a literal's quotes, replaced by a blank. Line ends
/// stay, so that a place in the result is the same place in `text`.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (skip, end) = if rest.starts_with(b"//") {
            (0, at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()))
        } else if rest.starts_with(b"/*") {
            (0, at + block_comment(rest))
        } else if let Some((hashes, open)) = raw_string(bytes, at) {
            let closing = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            let body = &bytes[at + open..];
            let len = body.windows(closing.len()).position(|window| window == closing).unwrap_or(body.len());
            (open, at + open + len)
        } else if rest[0] == b'"' {
            (1, at + 1 + quoted(&rest[1..], b'"'))
        } else if rest[0] == b'\'' && is_char(rest) {
            (1, at + 1 + quoted(&rest[1..], b'\''))
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at + skip..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        // Behind the closing quote, and behind the hashes of a raw string, which mean nothing here.
        at = if skip > 0 { end + 1 } else { end };
    }
    String::from_utf8(out).expect("whole characters were replaced")
}

/// The length of a comment that may hold others.
fn block_comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The number of hashes of the raw string that starts at `at`, and where its content starts, counted from there.
fn raw_string(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let prefix =
        [b"br".as_slice(), b"cr", b"r"].into_iter().find(|prefix| bytes[at..].starts_with(prefix))?;
    let behind = &bytes[at + prefix.len()..];
    let hashes = behind.iter().take_while(|b| **b == b'#').count();
    (!word_before && behind.get(hashes) == Some(&b'"')).then_some((hashes, prefix.len() + hashes + 1))
}

/// The length up to the closing quote.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at.min(text.len())
}

/// Whether a quote opens a character and not a lifetime.
fn is_char(text: &[u8]) -> bool {
    match text.get(1) {
        Some(b'\\') => true,
        Some(first) => {
            let len = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            text.get(1 + len) == Some(&b'\'')
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::blank;

    #[test]
    fn comments_and_contents_of_literals_are_blank() {
        assert_eq!(blank("a // b\nc"), "a     \nc");
        assert_eq!(blank("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(blank(r#"f("a \" {", '{', '\'', b'}')"#), r#"f("      ", ' ', '  ', b' ')"#);
        assert_eq!(blank(r###"r#"a " {"# + r"}""###), r###"r#"     "# + r" ""###);
    }

    #[test]
    fn lifetimes_and_identifiers_are_code() {
        let code = "fn a<'a>(for_r: &'a str, b: Foo<'_>) -> &'static str { for_r }";
        assert_eq!(blank(code), code);
    }

    #[test]
    fn places_stay() {
        let text = "let s = \"ä\nß\"; // ü\nlet c = 'ö'; end";
        let blanked = blank(text);
        assert_eq!(blanked.len(), text.len());
        assert_eq!(blanked.find("end"), text.find("end"));
        assert_eq!(blanked.matches('\n').count(), text.matches('\n').count());
    }
}

//! Java's properties format, by the rules of `java.util.Properties.load`: comments, three separators,
//! continued lines and escapes. Text is UTF-8, of which ASCII, the common case, is all that Java reads
//! the same way.

use super::{Entry, SyntaxError};

/// Reads every setting in its order; a name that comes twice is there twice.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let mut entries = Vec::new();
    let mut lines = numbered(text);
    while let Some((line, first)) = lines.next() {
        let start = first.trim_start_matches(is_blank);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, more)) => logical.push_str(more.trim_start_matches(is_blank)),
                None => break,
            }
        }
        entries.push(entry(line, &logical)?);
    }
    Ok(entries)
}

/// Natural lines, ended by LF, CR or CRLF, with their numbers.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = Some(text);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at(end);
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(line)
    });
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// A line goes on if it ends in an odd number of backslashes: an even number are escaped ones.
fn continues(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn entry(line: usize, logical: &str) -> Result<Entry, SyntaxError> {
    let (key, rest) = logical.split_at(key_end(logical));
    let value = rest.trim_start_matches(is_blank);
    let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_start_matches(is_blank);
    let unescape = |text| unescape(text).map_err(|reason| SyntaxError { line, reason });
    Ok(Entry { line, key: unescape(key)?, value: unescape(value)? })
}

/// Where the key ends: at the first separator without a backslash before it.
fn key_end(logical: &str) -> usize {
    let mut escaped = false;
    for (at, c) in logical.char_indices() {
        if !escaped && (is_blank(c) || c == '=' || c == ':') {
            return at;
        }
        escaped = c == '\\' && !escaped;
    }
    logical.len()
}

fn unescape(text: &str) -> Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\x0c'),
            Some('u') => out.push(unicode(&mut chars)?),
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

/// The character of `\uXXXX`, or of two such escapes where it takes a surrogate pair.
fn unicode(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let first = code_unit(chars)?;
    let mut units = vec![first];
    if (0xD800..0xDC00).contains(&first) && chars.as_str().starts_with("\\u") {
        chars.nth(1);
        units.push(code_unit(chars)?);
    }
    let text = String::from_utf16(&units).ok();
    let single = text.and_then(|text| text.chars().next().filter(|c| c.len_utf8() == text.len()));
    single.ok_or_else(|| format!("\\u{first:04x} is half of a surrogate pair"))
}

fn code_unit(chars: &mut std::str::Chars<'_>) -> Result<u16, String> {
    let digits: String = chars.by_ref().take(4).collect();
    let well_formed = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| well_formed);
    unit.ok_or_else(|| format!("\\u must be followed by four hexadecimal digits, not by {digits:?}"))
}

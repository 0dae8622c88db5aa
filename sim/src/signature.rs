//! What failures are grouped by: the words of a finding without the names and numbers of the one world it is from.

/// Characters of a signature.
const LEN_MAX: usize = 200;
/// What follows one of these is the name of something that a client made.
const NAMING: [&str; 5] = ["topic", "topics", "group", "groups", "member"];
/// Hosts, whose numbers say no more than those of partitions.
const HOSTS: [&str; 2] = ["client", "broker"];

/// The first line of `text` with what differs between two worlds masked: numbers, times, offsets, ids, names of topics
/// and groups. The codes of errors stay, as do internal topics.
pub fn masked(text: &str) -> String {
    let mut out: Vec<String> = vec![];
    let mut before = "";
    for word in text.lines().next().unwrap_or_default().split_whitespace() {
        out.push(masked_word(word, before));
        before = word.trim_matches(|c: char| !c.is_alphanumeric());
    }
    let mut out = out.join(" ");
    if let Some((end, _)) = out.char_indices().nth(LEN_MAX) {
        out.truncate(end);
    }
    out
}

fn masked_word(word: &str, before: &str) -> String {
    let is_mark = |c: char| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '#');
    let core = word.trim_matches(is_mark);
    let Some(at) = word.find(core).filter(|_| !core.is_empty()) else { return word.to_owned() };
    let (start, end) = (&word[..at], &word[at + core.len()..]);
    let is_code = matches!(before, "error" | "code") && core.bytes().all(|b| b.is_ascii_digit());
    let masked = match core {
        _ if is_code => core.to_owned(),
        _ if NAMING.contains(&before) && !core.starts_with("__") => "NAME".to_owned(),
        _ => partition(core).unwrap_or_else(|| core.split('[').map(plain).collect::<Vec<_>>().join("[")),
    };
    format!("{start}{masked}{end}")
}

/// `topic-3`, perhaps with the topic's id in brackets.
fn partition(word: &str) -> Option<String> {
    let (name, id) = word.split_once('[').map_or((word, None), |(name, id)| (name, Some(id)));
    let (topic, number) = name.rsplit_once('-')?;
    let is_name = topic.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if topic.is_empty() || !is_name || !is_number {
        return None;
    }
    Some(match topic {
        _ if is_id(word) => "ID".to_owned(),
        _ if HOSTS.contains(&topic) || topic.starts_with("__") => format!("{topic}-#"),
        _ if id.is_some() => "PARTITION[ID".to_owned(),
        _ => "PARTITION".to_owned(),
    })
}

fn plain(word: &str) -> String {
    match is_id(word) {
        true => "ID".to_owned(),
        false => without_numbers(word),
    }
}

/// A UUID, in hex or as Kafka displays it, or a long hexadecimal number.
fn is_id(word: &str) -> bool {
    let word = word.trim_end_matches(']');
    let hex = |word: &str| word.bytes().all(|b| b.is_ascii_hexdigit());
    let uuid =
        word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && hex(&word.replace('-', ""));
    let kinds = [char::is_uppercase, char::is_lowercase, char::is_numeric];
    let mixed = kinds.iter().filter(|kind| word.contains(**kind)).count() == kinds.len();
    let base64 =
        word.len() == 22 && mixed && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let address = word.strip_prefix("0x").is_some_and(hex);
    let long = word.len() >= 8
        && hex(word)
        && [char::is_numeric, char::is_alphabetic].iter().all(|kind| word.contains(*kind));
    uuid || base64 || address || long
}

/// `word` with each number, with its decimals and its unit of time, as one `#`.
fn without_numbers(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        out.push('#');
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        if let Some(decimals) =
            rest.strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        {
            rest = decimals.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let unit = ["ns", "µs", "us", "ms", "s"].into_iter().find(|unit| {
            rest.strip_prefix(unit).is_some_and(|after| !after.starts_with(char::is_alphanumeric))
        });
        rest = unit.map_or(rest, |unit| &rest[unit.len()..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_in_numbers_names_and_ids_only_is_one() {
        for (one, other) in [
            (
                "t0-3: client 1 stream 2 record 33, acked at 5.125 s: acked at offset 17, is nowhere in 0..16\nmore",
                "auto-0: client 11 stream 100002 record 3, acked at 61.5 s: acked at offset 2, is nowhere in 10..11",
            ),
            (
                "own-7-0[8c2a0e5e-7d3b-4c43-9d3c-0f4c8a9d2e11]: a gap",
                "own-x-12[00000000-7d3b-4c43-9d3c-0f4c8a9d2e12]: a gap",
            ),
            ("topic t0 is not there at 80.000 s", "topic auto is not there at 9.123 s"),
            ("group g0, t0-1: commit of 3", "group g1, t2-0: commit of 44"),
            ("no answer within 300ms", "no answer within 1.5s"),
            ("topic id AbCdEfGhIjKlMnOpQr0123 is", "topic id ZbCdEfGhIjKlMnOpQr9_-a is"),
            ("client-3: waits at 0x7ffc0123", "client-11: waits at 0x55d00f00ba4"),
        ] {
            assert_eq!(masked(one), masked(other));
        }
    }

    #[test]
    fn what_says_another_thing_is_another() {
        for (one, other) in [
            ("offset 17 lost", "offset 17 doubled"),
            ("creating \"t0\": error 42: x", "creating \"t0\": error 17: x"),
            ("__consumer_offsets-1: gone", "t0-1: gone"),
            ("virtual time stands still in norn_log::append", "virtual time stands still in norn_log::read"),
        ] {
            assert_ne!(masked(one), masked(other));
        }
    }

    #[test]
    fn words_stay_words() {
        let text = "flush.mode=sync: at-least-once, the low-watermark (of v2) is un-done in 3..9";
        assert_eq!(
            masked(text),
            "flush.mode=sync: at-least-once, the low-watermark (of v#) is un-done in #..#"
        );
    }
}

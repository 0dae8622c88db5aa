//! TOML: the same names as dotted keys, quoted keys or nested tables. `log.retention.ms = 5`,
//! `"log.retention.ms" = 5` and `ms = 5` under `[log.retention]` say the same; an array is a list.

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::{Entry, SyntaxError};

/// Reads every setting, in the order of its place in the file.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let mut reason = error.message().to_owned();
        if reason.contains("dotted key") || reason.contains("duplicate key") {
            // max.connections and max.connections.per.ip are both settings; TOML cannot nest one in the
            // other.
            reason.push_str(
                " (a name that another one begins with must be quoted, as in \"max.connections\" = 100)",
            );
        }
        SyntaxError { line: line_of(text, at), reason }
    })?;
    let mut entries = Vec::new();
    flatten(text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, out: &mut Vec<Entry>) -> Result<(), SyntaxError> {
    for (name, value) in table.iter() {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        let line = line_of(text, value.span().start.max(name.span().start));
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &key, inner, out)?,
            DeValue::Array(items) => {
                let words: Result<Vec<String>, SyntaxError> =
                    items.iter().map(|item| scalar(text, &key, item)).collect();
                out.push(Entry { line, key, value: words?.join(",") });
            }
            _ => {
                let value = scalar(text, &key, value)?;
                out.push(Entry { line, key, value });
            }
        }
    }
    Ok(())
}

fn scalar(text: &str, key: &str, value: &Spanned<DeValue<'_>>) -> Result<String, SyntaxError> {
    let wrong = |reason: String| SyntaxError { line: line_of(text, value.span().start), reason };
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(wrong(format!("{key}: {number} does not fit in 64 bits"))),
        },
        other => Err(wrong(format!("{key}: no setting is a TOML {}", other.type_str()))),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

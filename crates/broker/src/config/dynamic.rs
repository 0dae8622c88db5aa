//! Dynamic changes of the broker's settings (KIP-226) that are decided without the metadata: those of settings that Norn
//! lacks.

use norn_core::metadata::controller::{AdminError, ConfigEdit, ConfigOp};

use super::lacking::changes_nothing;

/// The edits that change something: without those that leave a setting, which Norn lacks, at the value that its
/// behaviour corresponds to. An edit that asks for another value is an error with the reason.
pub fn effective_edits(edits: Vec<ConfigEdit>) -> Result<Vec<ConfigEdit>, AdminError> {
    let mut effective = Vec::with_capacity(edits.len());
    for edit in edits {
        let value = match (&edit.value, edit.op) {
            (Some(value), _) => value.as_str(),
            (None, ConfigOp::Delete) => "",
            (None, _) => return Err(AdminError::NullEdit { name: edit.name }),
        };
        match (changes_nothing(&edit.name, value), edit.op) {
            (None, _) => effective.push(edit),
            (Some(_), ConfigOp::Delete) | (Some(Ok(())), ConfigOp::Set | ConfigOp::Append) => {}
            (Some(outcome), _) => {
                let reason = outcome.err().unwrap_or("Norn has no such list");
                return Err(AdminError::Unsupported { name: edit.name, reason });
            }
        }
    }
    Ok(effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(name: &str, op: ConfigOp, value: Option<&str>) -> ConfigEdit {
        ConfigEdit { name: name.to_owned(), op, value: value.map(str::to_owned) }
    }

    #[test]
    fn a_setting_that_norn_lacks_stays_as_it_is() {
        let nothing = [
            edit("num.io.threads", ConfigOp::Set, Some(" 8 ")),
            edit("log.cleaner.enable", ConfigOp::Set, Some("true")),
            edit("log.cleaner.enable", ConfigOp::Set, Some("false")),
            edit("num.io.threads", ConfigOp::Delete, None),
            edit("ssl.cipher.suites", ConfigOp::Append, Some("")),
        ];
        assert_eq!(effective_edits(nothing.to_vec()), Ok(vec![]));
        let kept = edit("log.retention.ms", ConfigOp::Set, Some("5"));
        assert_eq!(effective_edits(vec![kept.clone()]), Ok(vec![kept]));
    }

    #[test]
    fn another_value_for_it_is_refused_with_the_reason() {
        for (name, op, value) in [
            ("num.io.threads", ConfigOp::Set, "9"),
            ("ssl.cipher.suites", ConfigOp::Append, "A"),
            ("sasl.enabled.mechanisms", ConfigOp::Subtract, "GSSAPI"),
        ] {
            let error = effective_edits(vec![edit(name, op, Some(value))]).unwrap_err();
            assert!(matches!(&error, AdminError::Unsupported { .. }), "{error}");
            assert!(error.to_string().starts_with(&format!("{name} cannot be changed: Norn ")), "{error}");
        }
        let null = effective_edits(vec![edit("num.io.threads", ConfigOp::Set, None)]);
        assert!(matches!(null, Err(AdminError::NullEdit { .. })));
    }
}

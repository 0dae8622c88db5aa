//! Filters of client quotas (DescribeClientQuotas, KIP-546): Kafka's `ClientQuotasImage.describe`.

use std::collections::BTreeSet;

use norn_protocol::ErrorCode;

/// A filter that Kafka refuses, in its words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuotaFilterError {
    #[error("Invalid empty entity type.")]
    EmptyType,
    #[error("Entity type {0} cannot appear more than once in the filter.")]
    Repeated(String),
    #[error("Unsupported entity type {0}")]
    UnknownType(String),
    #[error("Request specified MATCH_TYPE_EXACT, but set match string to null.")]
    ExactWithoutMatch,
    #[error("Request specified {0}, but also specified a match string.")]
    MatchNotWanted(&'static str),
    #[error("Unknown match type {0}")]
    UnknownMatch(i8),
    #[error(
        "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter \
         component."
    )]
    IpBesideOthers,
}

impl QuotaFilterError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            QuotaFilterError::UnknownType(_) => ErrorCode::UnsupportedVersion,
            _ => ErrorCode::InvalidRequest,
        }
    }
}

/// Checks the components of a filter, each an entity type, a match type and what to match.
pub fn check_quota_filter<'a>(
    components: impl Iterator<Item = (&'a str, i8, Option<&'a str>)>,
) -> Result<(), QuotaFilterError> {
    let mut types = BTreeSet::new();
    for (entity, match_type, to_match) in components {
        if entity.is_empty() {
            return Err(QuotaFilterError::EmptyType);
        }
        if types.contains(entity) {
            return Err(QuotaFilterError::Repeated(entity.to_owned()));
        }
        if !matches!(entity, "ip" | "user" | "client-id") {
            return Err(QuotaFilterError::UnknownType(entity.to_owned()));
        }
        match (match_type, to_match) {
            (0, None) => return Err(QuotaFilterError::ExactWithoutMatch),
            (1, Some(_)) => return Err(QuotaFilterError::MatchNotWanted("MATCH_TYPE_DEFAULT")),
            (2, Some(_)) => return Err(QuotaFilterError::MatchNotWanted("MATCH_TYPE_SPECIFIED")),
            (0..=2, _) => {}
            (other, _) => return Err(QuotaFilterError::UnknownMatch(other)),
        }
        types.insert(entity);
    }
    match types.contains("ip") && types.len() > 1 {
        true => Err(QuotaFilterError::IpBesideOthers),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_each_kind_of_entity_once_and_matches_as_its_type_says() {
        let check = |components: &[(&str, i8, Option<&str>)]| {
            check_quota_filter(components.iter().copied()).map_err(|error| (error.code(), error.to_string()))
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("user", 0, Some("a")), ("client-id", 1, None)]), Ok(()));
        assert_eq!(check(&[("ip", 2, None)]), Ok(()));
        let invalid = |text: &str| Err((ErrorCode::InvalidRequest, text.to_owned()));
        assert_eq!(check(&[("", 0, None)]), invalid("Invalid empty entity type."));
        assert_eq!(
            check(&[("user", 1, None), ("user", 2, None)]),
            invalid("Entity type user cannot appear more than once in the filter.")
        );
        assert_eq!(
            check(&[("group", 2, None)]),
            Err((ErrorCode::UnsupportedVersion, "Unsupported entity type group".to_owned()))
        );
        assert_eq!(
            check(&[("user", 0, None)]),
            invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.")
        );
        assert_eq!(
            check(&[("user", 1, Some("a"))]),
            invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
        );
        assert_eq!(
            check(&[("user", 2, Some("a"))]),
            invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
        );
        assert_eq!(check(&[("user", 9, None)]), invalid("Unknown match type 9"));
        assert!(check(&[("ip", 2, None), ("user", 2, None)]).is_err());
    }
}

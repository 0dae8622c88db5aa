//! SCRAM credentials (DescribeUserScramCredentials, KIP-554), of which there are none: Kafka's `ScramImage.describe`.

use std::collections::BTreeMap;

use norn_protocol::ErrorCode;

/// Why a user's credentials are not described, in Kafka's words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UserError {
    #[error("Attempt to describe a user credential that does not exist: {0}")]
    Unknown(String),
    #[error("Cannot describe SCRAM credentials for the same user twice in a single request: {0}")]
    Repeated(String),
}

impl UserError {
    /// Kafka's code.
    pub fn code(&self) -> ErrorCode {
        match self {
            UserError::Unknown(_) => ErrorCode::ResourceNotFound,
            UserError::Repeated(_) => ErrorCode::DuplicateResource,
        }
    }
}

/// The answer to each user that is named, by name.
pub fn described_users<'a>(
    named: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = (&'a str, UserError)> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    named.for_each(|name| *times.entry(name).or_default() += 1);
    times.into_iter().map(|(name, times)| match times {
        1 => (name, UserError::Unknown(name.to_owned())),
        _ => (name, UserError::Repeated(name.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_is_answered_once() {
        let users: Vec<_> = described_users(["b", "a", "b"].into_iter()).collect();
        assert_eq!(users, [("a", UserError::Unknown("a".into())), ("b", UserError::Repeated("b".into()))]);
        assert_eq!(users[0].1.code(), ErrorCode::ResourceNotFound);
        assert_eq!(users[1].1.code(), ErrorCode::DuplicateResource);
    }
}

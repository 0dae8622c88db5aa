//! Which kinds of resources have settings (ListConfigResources, KIP-1142).

use norn_protocol::ErrorCode;

/// A kind of resource that can be listed (`ConfigResource.Type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConfigResourceType {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl ConfigResourceType {
    const ALL: [ConfigResourceType; 5] = [
        ConfigResourceType::Topic,
        ConfigResourceType::Broker,
        ConfigResourceType::BrokerLogger,
        ConfigResourceType::ClientMetrics,
        ConfigResourceType::Group,
    ];

    /// Kafka's number.
    pub fn code(self) -> i8 {
        match self {
            ConfigResourceType::Topic => 2,
            ConfigResourceType::Broker => 4,
            ConfigResourceType::BrokerLogger => 8,
            ConfigResourceType::ClientMetrics => 16,
            ConfigResourceType::Group => 32,
        }
    }
}

/// The kinds that a request of this version asks for: those that it names, or all. Version 0 knows client metrics only.
/// UNSUPPORTED_VERSION for one that it does not know.
pub fn config_resource_types(version: i16, asked: &[i8]) -> Result<Vec<ConfigResourceType>, ErrorCode> {
    let known = match version {
        0 => &[ConfigResourceType::ClientMetrics][..],
        _ => &ConfigResourceType::ALL,
    };
    if asked.iter().any(|code| !known.iter().any(|kind| kind.code() == *code)) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let wanted = known.iter().filter(|kind| asked.is_empty() || asked.contains(&kind.code()));
    Ok(wanted.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_for_what_it_names_or_all_that_its_version_knows() {
        use ConfigResourceType::{Broker, ClientMetrics, Topic};
        assert_eq!(config_resource_types(0, &[]), Ok(vec![ClientMetrics]));
        assert_eq!(config_resource_types(1, &[]).unwrap().len(), 5);
        assert_eq!(config_resource_types(1, &[4, 2, 2]), Ok(vec![Topic, Broker]));
        assert_eq!(config_resource_types(0, &[2]), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(config_resource_types(1, &[2, 3]), Err(ErrorCode::UnsupportedVersion));
    }
}

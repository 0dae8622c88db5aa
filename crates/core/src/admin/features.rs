//! The features that this build supports, and updates of their levels (KIP-584): Kafka's `FeatureControlManager`.

use std::collections::BTreeMap;

use norn_protocol::types::NodeId;

/// A feature and its levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feature {
    pub name: &'static str,
    /// The lowest level that this build supports.
    pub min: i16,
    /// The highest level that this build supports.
    pub max: i16,
    /// The level that the cluster has finalized. It never changes: there is no other to change to.
    pub level: i16,
}

const METADATA_VERSION: &str = "metadata.version";

/// Features that clients look at. `metadata.version` is Kafka 4.0's: clients take it as "modern", and nothing newer is
/// promised.
pub const FEATURES: [Feature; 1] = [Feature { name: METADATA_VERSION, min: 7, max: 25, level: 25 }];

/// One update of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeatureUpdate {
    pub level: i16,
    /// `FeatureUpdate.UpgradeType`: 1 upgrade, 2 safe downgrade, 3 unsafe downgrade.
    pub upgrade_type: i8,
}

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Whether all of these updates are possible; else why the first that is not is refused with INVALID_UPDATE_VERSION, in
/// Kafka's words. What is possible changes nothing: only the level that there is.
pub fn check_updates(node: NodeId, updates: &BTreeMap<&str, FeatureUpdate>) -> Result<(), String> {
    updates.iter().try_for_each(|(name, update)| check(node, name, *update))
}

fn check(node: NodeId, name: &str, update: FeatureUpdate) -> Result<(), String> {
    let FeatureUpdate { level, upgrade_type } = update;
    let feature = FEATURES.iter().find(|feature| feature.name == name);
    let reason = if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&upgrade_type) {
        "The controller does not support the given upgrade type.".to_owned()
    } else if level < 0 {
        "A feature version cannot be less than 0.".to_owned()
    } else {
        match feature {
            // Level 0 is what a feature that is not there has.
            None if level == 0 => format!("Feature {name} not found."),
            None => format!("Local controller {node} does not support this feature."),
            Some(Feature { min, max, .. }) if !(*min..=*max).contains(&level) => {
                format!("Local controller {node} only supports versions {min}-{max}")
            }
            Some(feature) if level < feature.level && upgrade_type == UPGRADE => {
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
                 downgrade."
                    .to_owned()
            }
            Some(feature) if level < feature.level => return Err(downgrade(feature, level, upgrade_type)),
            Some(_) => return Ok(()),
        }
    };
    Err(format!("Invalid update version {level} for feature {name}. {reason}"))
}

/// A downgrade is refused: older levels have other metadata, which this build does not write.
fn downgrade(feature: &Feature, level: i16, upgrade_type: i8) -> String {
    let reason = match upgrade_type {
        SAFE_DOWNGRADE => {
            "Refusing to perform the requested downgrade because it might delete metadata information."
        }
        _ => "Unsafe metadata downgrade is not supported in this version.",
    };
    format!("Unsupported {} downgrade from {} to {level}. {reason}", feature.name, feature.level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, level: i16, upgrade_type: i8) -> Result<(), String> {
        check_updates(NodeId(1), &BTreeMap::from([(name, FeatureUpdate { level, upgrade_type })]))
    }

    #[test]
    fn only_the_level_that_there_is_can_be_asked_for() {
        for upgrade_type in [UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE] {
            assert_eq!(check_one(METADATA_VERSION, 25, upgrade_type), Ok(()));
        }
        let refused = |level, upgrade_type| check_one(METADATA_VERSION, level, upgrade_type).unwrap_err();
        let prefix = "Invalid update version";
        assert_eq!(
            refused(26, UPGRADE),
            format!(
                "{prefix} 26 for feature metadata.version. Local controller 1 only supports versions 7-25"
            )
        );
        assert_eq!(
            refused(-1, UPGRADE),
            format!("{prefix} -1 for feature metadata.version. A feature version cannot be less than 0.")
        );
        assert!(refused(20, UPGRADE)
            .contains("without setting the upgrade type to either safe or unsafe downgrade."));
        assert_eq!(
            refused(20, SAFE_DOWNGRADE),
            "Unsupported metadata.version downgrade from 25 to 20. Refusing to perform the requested downgrade because \
             it might delete metadata information."
        );
        assert!(refused(20, UNSAFE_DOWNGRADE)
            .ends_with("Unsafe metadata downgrade is not supported in this version."));
        assert!(refused(25, 0).ends_with("The controller does not support the given upgrade type."));
    }

    #[test]
    fn a_feature_that_is_not_there_is_refused() {
        assert_eq!(
            check_one("flying", 1, UPGRADE).unwrap_err(),
            "Invalid update version 1 for feature flying. Local controller 1 does not support this feature."
        );
        assert_eq!(
            check_one("flying", 0, UPGRADE).unwrap_err(),
            "Invalid update version 0 for feature flying. Feature flying not found."
        );
    }
}

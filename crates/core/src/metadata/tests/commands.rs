//! The binary form of commands and outcomes.

use proptest::prelude::*;

use super::super::command::CommandError;
use super::super::outcome;
use super::histories::proposal;
use super::*;
use crate::DecodeError;

#[test]
fn what_a_newer_norn_wrote_is_refused_by_name() {
    let mut bytes = Proposal::from(register(1, 1)).encode().to_vec();
    bytes[1] = 9;
    let message = Proposal::decode(&bytes).unwrap_err().to_string();
    assert_eq!(message, "metadata command of version 9, this node knows versions up to 1: upgrade it");
    bytes[1] = 1;
    bytes[3] = 200;
    let message = Proposal::decode(&bytes).unwrap_err().to_string();
    assert_eq!(message, "metadata command of unknown kind 200: upgrade this node");
}

#[test]
fn bytes_that_follow_a_command_are_refused() {
    let mut bytes = Proposal::from(Command::DeleteTopic { id: id(1) }).encode().to_vec();
    bytes.push(0);
    let trailing = CommandError::Malformed { kind: 5, source: DecodeError::Trailing { extra: 1 } };
    assert_eq!(Proposal::decode(&bytes), Err(trailing));
}

#[test]
fn the_encoding_stays_as_it_is() {
    let proposal = Proposal { request: request(1, 2, 3), command: Command::DeleteTopic { id: id(4) } };
    let expected = [
        &[0, 1, 0, 5][..],                                 // version 1, kind 5
        &[1],                                              // a request id follows
        &[0, 0, 0, 1],                                     // node
        &[0, 0, 0, 0, 0, 0, 0, 2],                         // broker epoch
        &[0, 0, 0, 0, 0, 0, 0, 3],                         // counter
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], // topic id
    ];
    assert_eq!(proposal.encode(), expected.concat());
}

proptest! {
    #[test]
    fn every_command_survives_its_encoding(proposal in proposal()) {
        prop_assert_eq!(Proposal::decode(&proposal.encode()), Ok(proposal));
    }

    #[test]
    fn a_cut_or_changed_command_is_read_without_a_panic(
        proposal in proposal(),
        cut in 0.0..1.0_f64,
        at in 0.0..1.0_f64,
        byte in any::<u8>(),
    ) {
        let mut bytes = proposal.encode().to_vec();
        let end = (bytes.len() as f64 * cut) as usize;
        prop_assert!(Proposal::decode(&bytes[..end]).is_err());
        let at = (bytes.len() as f64 * at) as usize;
        bytes[at] = byte;
        if let Ok(read) = Proposal::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes, "one command has one encoding");
        }
    }

    #[test]
    fn random_bytes_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0..12_u8,
    ) {
        let _ = Proposal::decode(&bytes);
        let _ = Proposal::decode(&[&[0, 1, 0, kind][..], &bytes].concat());
        let _ = outcome::decode(&bytes);
        prop_assert!(State::restore([&bytes]).is_err());
    }
}

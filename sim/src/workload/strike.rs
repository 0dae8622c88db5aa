//! Striking topics and clients from a plan, so that what is left does what it did before.

use super::plan::{Plan, Role};

impl Role {
    /// The topics that it names, by their places in the plan.
    pub fn topics(&self) -> Vec<usize> {
        match self {
            Self::Idempotent { topics, .. }
            | Self::Plain { topics, .. }
            | Self::Consumer { topics, .. }
            | Self::Admin { topics } => topics.clone(),
            Self::Member { topic, .. } | Self::Dribbler { topic } => vec![*topic],
            Self::Committer { .. } => vec![],
        }
    }

    /// The same with its topics at other places; none if it has no topic left to work on.
    fn moved(mut self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        match &mut self {
            Self::Idempotent { topics, .. }
            | Self::Plain { topics, .. }
            | Self::Consumer { topics, .. }
            | Self::Admin { topics } => {
                *topics = topics.iter().filter_map(|topic| place(*topic)).collect();
                if topics.is_empty() {
                    return None;
                }
            }
            Self::Member { topic, .. } | Self::Dribbler { topic } => *topic = place(*topic)?,
            Self::Committer { .. } => {}
        }
        Some(self)
    }
}

impl Plan {
    /// The plan with the topics at these places only. Clients that have nothing left to work on go with the others.
    pub fn with_topics(&self, kept: &[usize]) -> Self {
        let mut plan = self.clone();
        plan.topics = kept.iter().filter_map(|place| self.topics.get(*place)).cloned().collect();
        let place = |topic: usize| kept.iter().position(|kept| *kept == topic);
        let clients = plan.clients.into_iter().filter_map(|mut client| {
            client.role = client.role.moved(place)?;
            Some(client)
        });
        plan.clients = clients.collect();
        plan
    }

    /// The plan with the clients at these places only; they keep their numbers.
    pub fn with_clients(&self, kept: &[usize]) -> Self {
        let clients = kept.iter().filter_map(|place| self.clients.get(*place)).cloned().collect();
        Self { clients, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use norn_env::sim::Stream;

    use super::*;
    use crate::world::WorldShape;

    fn plans() -> impl Iterator<Item = Plan> {
        let shape = WorldShape { settings: Default::default() };
        (0..50).map(move |seed| Plan::draw(&mut Stream::detached(seed, "plan"), &shape))
    }

    #[test]
    fn the_topics_that_stay_keep_their_names_and_their_clients() {
        for plan in plans().filter(|plan| plan.topics.len() > 1) {
            let names = |plan: &Plan, role: &Role| -> Vec<String> {
                role.topics().into_iter().map(|topic| plan.topics[topic].name.clone()).collect()
            };
            let left = plan.with_topics(&[1]);
            assert_eq!(left.topics, plan.topics[1..2]);
            for client in &left.clients {
                let before = plan.clients.iter().find(|before| before.number == client.number).unwrap();
                let mut expected = names(&plan, &before.role);
                expected.retain(|name| *name == plan.topics[1].name);
                assert_eq!(names(&left, &client.role), expected);
            }
        }
    }

    #[test]
    fn the_clients_that_stay_keep_their_numbers() {
        for plan in plans() {
            let left = plan.with_clients(&[0, 2]);
            assert_eq!(left.clients, [plan.clients[0].clone(), plan.clients[2].clone()]);
            assert_eq!(left.client_count(), 3);
        }
    }
}

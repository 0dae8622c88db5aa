
    use crate::world::*; use crate::check::History; use norn_env::sim::Stream; use std::net::SocketAddr;
    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
    pub struct Plan { n: u64 }
    impl Plan { pub fn draw(s: &mut Stream, _: &WorldShape) -> Self { Self { n: s.below(5) } } pub fn client_count(&self) -> usize { 0 } }
    pub async fn drive(_: Plan, b: Vec<SocketAddr>, _: History, mut phase: tokio::sync::watch::Receiver<Phase>) { let mut phase2 = phase.clone();
        let node = madsim::runtime::Handle::current().create_node().name("client-0").build();
        norn_env::sim::node::register(node.id(), "client-0", "10.0.1.1".parse().unwrap());
        let done = node.spawn(async move {
            loop {
                if *phase.borrow_and_update() >= Phase::Heal { return }
                let dl = norn_env::clock::now() + std::time::Duration::from_secs(2);
                let c = norn_env::net::Stream::connect(b[0], dl).await;
                tracing::debug!("connect {:?}", c.is_ok());
                norn_env::clock::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        let _ = done.await; loop { if *phase2.borrow_and_update() >= Phase::Heal { return } if phase2.changed().await.is_err() { return } }
    }
    pub async fn read_back(_: History, _: Vec<SocketAddr>) {}

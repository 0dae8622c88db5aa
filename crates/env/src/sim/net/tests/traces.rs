use std::time::Duration;

use bytes::BytesMut;
use madsim::runtime::Handle;

use super::*;
use crate::clock::{now, sleep, timeout_at};
use crate::net::{Listener, Stream};
use crate::sim::net::NetCtl;
use crate::sim::{node, simulate, trace, Options};

/// A few clients and an echo server, under kills, cuts and resets.
async fn eventful() -> (u64, u64) {
    let server = Handle::current()
        .create_node()
        .init(|| async {
            let listener = Listener::bind(any(PORT)).await.unwrap();
            let mut tasks = crate::task::Tasks::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.spawn("echo", async move {
                    let (mut r, mut w) = stream.split();
                    let mut buf = BytesMut::new();
                    while matches!(r.read_buf(&mut buf).await, Ok(1..)) {
                        if write(&mut w, buf.split().freeze()).await.is_err() {
                            break;
                        }
                    }
                });
            }
        })
        .build();
    let ks = node::key(server.id());
    let clients: Vec<_> = (0..3).map(|_| new_node()).collect();
    for client in &clients {
        client.spawn(async move {
            loop {
                let Ok(stream) = Stream::connect(addr(ks), now() + ms(500)).await else { continue };
                let (mut r, mut w) = stream.split();
                let mut buf = BytesMut::new();
                for _ in 0..20 {
                    let len = crate::rand::below(3000) as usize + 1;
                    let exchange = async {
                        write(&mut w, vec![1; len]).await?;
                        r.read_buf(&mut buf).await
                    };
                    if !matches!(timeout_at(now() + ms(200), exchange).await, Ok(Ok(1..))) {
                        break;
                    }
                    sleep(Duration::from_micros(crate::rand::below(3000))).await;
                }
            }
        });
    }
    let ctl = NetCtl::current();
    for round in 0..10 {
        sleep(ms(300)).await;
        let client = node::key(clients[round % 3].id());
        ctl.cut(client, ks);
        sleep(ms(100)).await;
        ctl.heal_all();
        ctl.reset_connections(client, Some(ks));
        if round % 4 == 3 {
            Handle::current().kill(server.id());
            Handle::current().restart(server.id());
        }
    }
    assert!(ctl.stats().bytes > 100_000, "{:?}", ctl.stats());
    trace::finish()
}

#[test]
fn one_seed_is_one_trace() {
    for seed in 0..3 {
        let first = simulate(seed, Options::default(), eventful);
        assert_eq!(simulate(seed, Options::default(), eventful), first);
        assert_ne!(simulate(seed + 100, Options::default(), eventful), first);
        assert!(first.1 > 5000);
    }
}

#[test]
fn a_reseeded_world_takes_another_way() {
    let reseeded = |salt| {
        simulate(1, Options::default(), move || async move {
            crate::sim::reseed(salt);
            eventful().await
        })
    };
    assert_eq!(reseeded(1), reseeded(1));
    assert_ne!(reseeded(1), reseeded(2));
}

#[test]
fn the_first_event_that_differs_can_be_captured() {
    let options = |seed: u64| Options { capture: 0..50 * seed, ..Options::default() };
    let run = |seed| {
        simulate(1, options(seed), || async {
            let before = now();
            pair().await;
            assert!(before < now());
            trace::captured()
        })
    };
    assert!(run(0).is_empty());
    let captured = run(1);
    assert!(!captured.is_empty() && captured.len() <= 50);
    assert_eq!(captured, run(1));
    assert!(captured.windows(2).all(|w| w[0].0 + 1 == w[1].0 && w[0].1 <= w[1].1));
}

//! Time, waits, probes and clocks of a world.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use madsim::runtime::Handle;

use super::{node, probes, simulate, supervised, try_world, world, ClockCtl, Options, Stream};
use crate::clock::{now, sleep, timeout_at, wall_ms};
use crate::task::{self, spawn};
use crate::wait_report::snapshot;

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn in_world<T: Send + 'static, F: std::future::Future<Output = T>>(
    f: impl FnOnce() -> F + Send + 'static,
) -> T {
    simulate(1, Options::default(), f)
}

#[test]
fn sleeps_are_exact_to_a_microsecond() {
    in_world(|| async {
        for want in [1, 7, 50, 300, 999, 1000, 5_000_000] {
            let start = now();
            sleep(us(want)).await;
            let took = start.elapsed();
            assert!(took >= us(want) && took < us(want + 1), "{want} us took {took:?}");
        }
    });
}

#[test]
fn a_sleep_of_nothing_still_lets_time_pass() {
    in_world(|| async {
        let start = now();
        for _ in 0..1000 {
            sleep(Duration::ZERO).await;
        }
        assert!(start.elapsed() >= us(1000));
    });
}

#[test]
fn dropped_sleeps_leave_nothing_behind() {
    in_world(|| async {
        let world = world();
        let before = world.timers.len();
        for _ in 0..1000 {
            // The deadline is polled and dropped.
            timeout_at(now() + us(1_000_000_000), sleep(us(10))).await.unwrap();
        }
        assert_eq!(world.timers.len(), before);
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_instants() {
    in_world(|| async {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(10);
        let start = now();
        let tasks: Vec<_> = [500, 100, 300, 200, 400]
            .into_iter()
            .map(|wait| {
                let sender = sender.clone();
                spawn("sleeper", async move {
                    crate::clock::sleep_until(start + us(wait)).await;
                    sender.send(wait).await.unwrap();
                })
            })
            .collect();
        drop(sender);
        let mut order = vec![];
        while let Some(wait) = receiver.recv().await {
            order.push(wait);
        }
        assert_eq!(order, [100, 200, 300, 400, 500]);
        drop(tasks);
    });
}

#[test]
fn the_report_says_who_waits_for_what_since_when() {
    in_world(|| async {
        sleep(us(1000)).await;
        let waiter = spawn("waiter", async {
            let never = task::wait(|| "a reply".to_owned(), std::future::pending::<()>());
            let fsync = task::wait(|| "an fsync".to_owned(), std::future::pending::<()>());
            crate::select! { () = never => {}, () = fsync => {} }
        });
        let silent = spawn("silent", std::future::pending::<()>());
        sleep(us(500)).await;
        let report = snapshot();
        let of = |name: &str| report.iter().filter(|wait| wait.task == name).cloned().collect::<Vec<_>>();
        let waits = of("waiter");
        assert_eq!(waits[0].waits_for.as_deref(), Some("a reply"));
        assert_eq!(waits[1].waits_for.as_deref(), Some("an fsync"));
        assert!(waits[0].since >= us(1000) && waits[0].since < us(1500));
        assert!(waits[0].spawned_at.contains("sim/tests.rs"), "{}", waits[0].spawned_at);
        assert_eq!(of("silent")[0].waits_for, None);
        drop((waiter, silent));
        sleep(us(10)).await;
        assert_eq!(snapshot(), []);
    });
}

#[test]
fn a_wait_that_ends_at_once_is_never_described() {
    in_world(|| async {
        assert_eq!(task::wait(|| unreachable!(), async { 3 }).await, 3);
    });
}

#[test]
fn a_killed_node_waits_for_nothing() {
    in_world(|| async {
        let handle = Handle::current();
        let a = handle
            .create_node()
            .init(|| async {
                let _task = spawn("loop", async {
                    task::wait(|| "the end".to_owned(), std::future::pending::<()>()).await;
                });
                std::future::pending::<()>().await;
            })
            .build();
        node::register(a.id(), "broker-1", "10.1.1.1".parse().unwrap());
        sleep(us(100)).await;
        let report = snapshot();
        assert_eq!((report.len(), report[0].node_name.as_str()), (1, "broker-1"));
        handle.kill(a.id());
        assert_eq!(snapshot(), []);
        handle.restart(a.id());
        sleep(us(100)).await;
        assert_eq!(snapshot().len(), 1);
    });
}

#[test]
fn a_registered_address_is_where_the_node_is_found() {
    in_world(|| async {
        let a = Handle::current().create_node().build();
        node::register(a.id(), "a", "192.168.7.1".parse().unwrap());
        let to: SocketAddr = "192.168.7.1:80".parse().unwrap();
        let bound = a.spawn(async move { crate::net::Listener::bind(to).await.unwrap() }).await.unwrap();
        let stream = crate::net::Stream::connect(to, now() + us(1_000_000)).await.unwrap();
        assert_eq!((stream.peer_addr(), node::name(node::key(a.id()))), (to, "a".to_owned()));
        drop(bound);
    });
}

#[test]
fn each_node_has_its_own_wrong_clock() {
    in_world(|| async {
        let node = Handle::current().create_node().build();
        let key = node::key(node.id());
        let wall = || async { node.spawn(async { wall_ms() }).await.unwrap() };
        let ctl = ClockCtl::current();
        ctl.set_offset(key, -5000);
        assert!((wall().await - wall_ms() + 5000).abs() <= 1);
        ctl.set_drift(key, 1000);
        sleep(Duration::from_secs(1000)).await;
        assert!((wall().await - wall_ms() + 4000).abs() <= 1);
        ctl.jump(key, 9000);
        assert!((wall().await - wall_ms() - 5000).abs() <= 1);
        ctl.set_drift(key, 0);
        sleep(Duration::from_secs(1000)).await;
        assert!((ctl.error_ms(key) - 5000).abs() <= 1);
        Handle::current().kill(node.id());
        assert!((ctl.error_ms(key) - 5000).abs() <= 1);
    });
}

#[test]
fn probes_count_their_hits() {
    in_world(|| async {
        crate::sometimes!("met-once");
        for _ in 0..3 {
            crate::sometimes!("met-thrice");
        }
        assert_eq!(probes().into_iter().collect::<Vec<_>>(), [("met-once", 1), ("met-thrice", 3)]);
    });
}

#[test]
fn a_seed_has_some_buggify_points_on_and_the_others_off() {
    let fired = |seed, buggify| {
        simulate(seed, Options { buggify, ..Options::default() }, || async {
            (0..1000).filter(|_| crate::buggify!("point")).count()
        })
    };
    let fired_by_seed: Vec<usize> = (0..40).map(|seed| fired(seed, true)).collect();
    assert!(fired_by_seed.contains(&0));
    assert!(fired_by_seed.iter().any(|n| (10..150).contains(n)));
    assert_eq!(fired(fired_by_seed.iter().position(|n| *n > 0).unwrap() as u64, false), 0);
}

#[test]
fn points_say_nothing_once_they_are_stopped() {
    let fired = |seed| {
        simulate(seed, Options { buggify: true, ..Options::default() }, || async {
            let fired = || (0..1000).filter(|_| crate::buggify!("point")).count();
            let before = fired();
            probes::stop_buggify();
            (before, fired())
        })
    };
    let fired: Vec<_> = (0..40).map(fired).collect();
    assert!(fired.iter().any(|(before, _)| *before > 0));
    assert!(fired.iter().all(|(_, after)| *after == 0));
}

#[test]
fn nodes_draw_from_streams_of_their_own() {
    in_world(|| async {
        let nodes: Vec<_> = (0..3).map(|_| Handle::current().create_node().build()).collect();
        let mut drawn = BTreeSet::new();
        for node in &nodes {
            drawn.insert(node.spawn(async { crate::rand::u64() }).await.unwrap());
        }
        assert_eq!(drawn.len(), 3);
    });
}

#[test]
fn raw_entropy_comes_from_the_seed() {
    let draw = |seed| {
        simulate(seed, Options::default(), || async {
            let mut bytes = [0u8; 16];
            // SAFETY: the pointer and the length are of one array.
            let n = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
            assert_eq!(n, 16);
            bytes
        })
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn there_is_no_world_outside_of_one() {
    assert!(try_world().is_none());
}

#[test]
fn draws_polls_and_timers_change_the_trace() {
    let trace = |draws: u64, sleeps: u64, polls: u64| {
        in_world(move || async move {
            (0..draws).for_each(|_| _ = crate::rand::u64());
            for _ in 0..sleeps {
                sleep(us(1)).await;
            }
            for _ in 0..polls {
                spawn("polled", async {}).await.unwrap();
            }
            super::trace::finish()
        })
    };
    let all = [trace(0, 0, 0), trace(1, 0, 0), trace(0, 1, 0), trace(0, 0, 1)];
    assert_eq!(all.iter().map(|(hash, _)| hash).collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(trace(1, 1, 1), trace(1, 1, 1));
}

#[test]
fn each_poll_of_a_main_task_and_each_draw_of_a_traced_stream_is_an_event() {
    let events = |polls: u64, draws: u64| {
        in_world(move || async move {
            let node = Handle::current().create_node().build();
            let main = supervised("main", async move {
                for _ in 0..polls {
                    madsim::task::yield_now().await;
                }
                let dice = Stream::traced(7, "dice");
                (0..draws).for_each(|_| _ = dice.u64());
                assert_eq!(snapshot()[0].node, node::current());
            });
            let before = world().trace().hash().events;
            node.spawn(main).await.unwrap();
            world().trace().hash().events - before
        })
    };
    let plain = events(0, 0);
    assert_eq!((events(5, 0), events(0, 3)), (plain + 5, plain + 3));
}

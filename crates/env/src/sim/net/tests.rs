use std::collections::VecDeque;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use madsim::runtime::{Handle, NodeHandle};

use super::{NetConfig, NetCtl};
use crate::clock::{self, now, sleep, timeout_at};
use crate::net::{Listener, ReadHalf, Stream, WriteHalf};
use crate::sim::{node, simulate, trace, Options};

const PORT: u16 = 9092;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn addr(node: u64) -> SocketAddr {
    format!("10.0.0.{node}:{PORT}").parse().unwrap()
}

fn quiet() -> NetConfig {
    NetConfig { latency: ms(1)..ms(2), spike_probability: 0.0, ..NetConfig::default() }
}

fn net(net: NetConfig) -> Options {
    Options { net, ..Options::default() }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn new_node() -> NodeHandle {
    Handle::current().create_node().build()
}

/// Runs something on a node and awaits it.
async fn on<T: Send + 'static>(node: &NodeHandle, f: impl Future<Output = T> + Send + 'static) -> T {
    node.spawn(f).await.unwrap()
}

async fn connect(to: SocketAddr) -> std::io::Result<Stream> {
    Stream::connect(to, now() + ms(5000)).await
}

/// A connection from node 1 to node 2.
async fn pair() -> (NodeHandle, NodeHandle, (ReadHalf, WriteHalf), (ReadHalf, WriteHalf)) {
    let (a, b) = (new_node(), new_node());
    let listener = on(&b, async { Listener::bind(any(PORT)).await.unwrap() }).await;
    let to = addr(node::key(b.id()));
    let accepted = b.spawn(async move { listener.accept().await.unwrap().0.split() });
    let client = on(&a, async move { connect(to).await.unwrap().split() }).await;
    (a, b, client, accepted.await.unwrap())
}

async fn write(w: &mut WriteHalf, bytes: impl Into<Bytes>) -> std::io::Result<()> {
    w.write_all(&mut VecDeque::from([bytes.into()])).await
}

/// Reads until the end of file, or says how it ended otherwise.
async fn read_all(r: &mut ReadHalf) -> (BytesMut, Result<(), ErrorKind>) {
    let mut buf = BytesMut::new();
    loop {
        match r.read_buf(&mut buf).await {
            Ok(0) => return (buf, Ok(())),
            Ok(_) => {}
            Err(error) => return (buf, Err(error.kind())),
        }
    }
}

async fn read_once(r: &mut ReadHalf) -> Result<BytesMut, ErrorKind> {
    let mut buf = BytesMut::new();
    r.read_buf(&mut buf).await.map(|_| buf).map_err(|error| error.kind())
}

#[test]
fn bytes_arrive_in_order_however_they_are_cut() {
    let mut sizes_seen = 0;
    for seed in 0..20 {
        sizes_seen += simulate(seed, Options::default(), || async {
            let (a, _b, (_ar, mut aw), (mut br, _bw)) = pair().await;
            let sent: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
            let expected = sent.clone();
            let writer = a.spawn(async move {
                let mut rest = Bytes::from(sent);
                let mut step = 1;
                while !rest.is_empty() {
                    let mut bufs = VecDeque::new();
                    for _ in 0..3 {
                        bufs.push_back(rest.split_to(step.min(rest.len())));
                        step = step * 3 % 5003 + 1;
                    }
                    aw.write_all(&mut bufs).await.unwrap();
                    assert!(bufs.is_empty());
                }
            });
            let (mut got, mut sizes) = (BytesMut::new(), std::collections::BTreeSet::new());
            loop {
                match br.read_buf(&mut got).await.unwrap() {
                    0 => break,
                    n => sizes.insert(n),
                };
            }
            writer.await.unwrap();
            assert!(got == expected);
            sizes.len()
        });
    }
    assert!(sizes_seen > 200, "{sizes_seen}");
}

#[test]
fn connecting_takes_a_round_trip() {
    simulate(1, net(NetConfig { latency: ms(10)..ms(11), ..quiet() }), || async {
        let start = now();
        pair().await;
        assert!((ms(20)..ms(23)).contains(&start.elapsed()), "{:?}", start.elapsed());
    });
}

#[test]
fn a_closed_port_refuses_after_a_round_trip() {
    simulate(1, net(quiet()), || async {
        let (a, b) = (new_node(), new_node());
        let to = addr(node::key(b.id()));
        let start = now();
        let error = on(&a, async move { connect(to).await.err().unwrap() }).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(start.elapsed() >= ms(2));
    });
}

#[test]
fn connecting_times_out_where_nothing_answers() {
    simulate(1, net(quiet()), || async {
        let (a, b) = (new_node(), new_node());
        let listener = on(&b, async { Listener::bind(any(PORT)).await.unwrap() }).await;
        let (ka, kb) = (node::key(a.id()), node::key(b.id()));
        let ctl = NetCtl::current();
        let fails = |to| {
            let start = now();
            let connecting = a.spawn(async move { connect(to).await.err().unwrap().kind() });
            async move {
                assert_eq!(connecting.await.unwrap(), ErrorKind::TimedOut);
                assert!(start.elapsed() >= ms(5000));
            }
        };
        ctl.cut(ka, kb);
        fails(addr(kb)).await;
        ctl.heal_all();
        ctl.cut(kb, ka);
        fails(addr(kb)).await;
        ctl.heal_all();
        ctl.host_power_off(kb);
        fails(addr(kb)).await;
        ctl.host_power_on(kb);
        fails(addr(99)).await;
        drop(listener);
    });
}

#[test]
fn a_link_that_heals_lets_a_waiting_connect_through() {
    simulate(1, net(quiet()), || async {
        let (a, b) = (new_node(), new_node());
        let listener = on(&b, async { Listener::bind(any(PORT)).await.unwrap() }).await;
        let (ka, kb) = (node::key(a.id()), node::key(b.id()));
        NetCtl::current().cut_both(ka, kb);
        let connecting = a.spawn(async move { connect(addr(kb)).await.map(|_| ()) });
        sleep(ms(1500)).await;
        NetCtl::current().heal_both(ka, kb);
        connecting.await.unwrap().unwrap();
        drop(listener);
    });
}

#[test]
fn half_close_ends_one_direction_only() {
    simulate(1, net(quiet()), || async {
        let (_a, _b, (mut ar, mut aw), (mut br, mut bw)) = pair().await;
        write(&mut aw, "question").await.unwrap();
        aw.shutdown().await.unwrap();
        assert_eq!(write(&mut aw, "more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let (got, end) = read_all(&mut br).await;
        assert_eq!((&got[..], end), (&b"question"[..], Ok(())));
        write(&mut bw, "answer").await.unwrap();
        drop(bw);
        let (got, end) = read_all(&mut ar).await;
        assert_eq!((&got[..], end), (&b"answer"[..], Ok(())));
    });
}

#[test]
fn a_killed_process_resets_its_connections_or_ends_them() {
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..40 {
        ends.insert(simulate(seed, net(quiet()), || async {
            let (_a, b, (mut ar, mut aw), (_br, mut bw)) = pair().await;
            write(&mut bw, "last words").await.unwrap();
            let start = now();
            Handle::current().kill(b.id());
            let (got, end) = read_all(&mut ar).await;
            assert!(start.elapsed() >= ms(1) && start.elapsed() < ms(10));
            assert!(b"last words".starts_with(&got), "{got:?}");
            match end {
                Ok(()) => assert_eq!(got.len(), 10),
                Err(kind) => assert_eq!(kind, ErrorKind::ConnectionReset),
            }
            // What is sent to it now is answered with a reset.
            let failed = loop {
                match write(&mut aw, "hello?").await {
                    Ok(()) => sleep(ms(5)).await,
                    Err(error) => break error.kind(),
                }
            };
            assert!(matches!(failed, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
            (end.is_ok(), got.is_empty())
        }));
    }
    assert!(ends.contains(&(true, false)) && ends.contains(&(false, true)) && ends.contains(&(false, false)));
}

#[test]
fn a_host_without_power_is_silent_until_it_is_back() {
    simulate(1, net(quiet()), || async {
        let (_a, b, (mut ar, mut aw), _bs) = pair().await;
        let kb = node::key(b.id());
        let ctl = NetCtl::current();
        ctl.host_power_off(kb);
        Handle::current().kill(b.id());
        write(&mut aw, "are you there?").await.unwrap();
        let mut buf = BytesMut::new();
        assert!(timeout_at(now() + ms(20_000), ar.read_buf(&mut buf)).await.is_err());
        ctl.host_power_on(kb);
        let reset = timeout_at(now() + ms(3000), ar.read_buf(&mut buf)).await.unwrap();
        assert_eq!(reset.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_idle_survivor_of_a_power_loss_learns_of_it_when_it_writes() {
    simulate(1, net(quiet()), || async {
        let (_a, b, (mut ar, mut aw), _bs) = pair().await;
        let kb = node::key(b.id());
        NetCtl::current().host_power_off(kb);
        Handle::current().kill(b.id());
        NetCtl::current().host_power_on(kb);
        let mut buf = BytesMut::new();
        assert!(timeout_at(now() + ms(20_000), ar.read_buf(&mut buf)).await.is_err());
        write(&mut aw, "are you there?").await.unwrap();
        assert_eq!(ar.read_buf(&mut buf).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_error_is_told_once_and_then_the_connection_is_just_closed() {
    simulate(1, net(quiet()), || async {
        let (a, _b, (mut ar, mut aw), (mut br, _bw)) = pair().await;
        write(&mut aw, "x").await.unwrap();
        sleep(ms(10)).await;
        NetCtl::current().reset_connections(node::key(a.id()), None);
        assert_eq!(write(&mut aw, "y").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(write(&mut aw, "y").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(read_all(&mut ar).await.1, Ok(()));
        // What had come before can be read.
        let (got, end) = read_all(&mut br).await;
        assert_eq!((&got[..], end), (&b"x"[..], Err(ErrorKind::ConnectionReset)));
    });
}

#[test]
fn closing_with_unread_data_resets() {
    simulate(1, net(quiet()), || async {
        let (a, b) = (new_node(), new_node());
        let listener = on(&b, async { Listener::bind(any(PORT)).await.unwrap() }).await;
        let to = addr(node::key(b.id()));
        let (mut ar, mut aw) = on(&a, async move { connect(to).await.unwrap().split() }).await;
        let (accepted, _) = listener.accept().await.unwrap();
        write(&mut aw, "never read").await.unwrap();
        sleep(ms(10)).await;
        drop(accepted);
        assert_eq!(read_once(&mut ar).await, Err(ErrorKind::ConnectionReset));
        drop((ar, aw));
        sleep(ms(10)).await;
        assert_eq!(NetCtl::current().connections(), 0);
    });
}

#[test]
fn closing_after_reading_all_ends_and_forgets() {
    simulate(1, net(quiet()), || async {
        let (_a, _b, (mut ar, mut aw), bs) = pair().await;
        drop(bs);
        assert_eq!(read_all(&mut ar).await.1, Ok(()));
        write(&mut aw, "too late").await.unwrap();
        assert_eq!(read_all(&mut ar).await.1, Ok(()));
        sleep(ms(10)).await;
        assert_eq!(write(&mut aw, "too late").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop((ar, aw));
        sleep(ms(10)).await;
        assert_eq!(NetCtl::current().connections(), 0);
    });
}

#[test]
fn a_full_window_blocks_the_writer_until_the_reader_reads() {
    simulate(1, net(quiet()), || async {
        let (_a, _b, (_ar, mut aw), (mut br, _bw)) = pair().await;
        let mut bufs = VecDeque::from([Bytes::from(vec![7; 300_000])]);
        assert!(timeout_at(now() + ms(60_000), aw.write_all(&mut bufs)).await.is_err());
        let taken = 300_000 - bufs[0].len();
        assert!((32 << 10..96 << 10).contains(&taken), "{taken}");
        let reader = madsim::task::spawn(async move { read_all(&mut br).await.0.len() });
        aw.write_all(&mut bufs).await.unwrap();
        drop(aw);
        assert_eq!(reader.await.unwrap(), 300_000);
    });
}

#[test]
fn what_a_cut_link_holds_back_comes_after_healing() {
    simulate(1, net(quiet()), || async {
        let (a, b, (mut ar, mut aw), (mut br, mut bw)) = pair().await;
        let (ka, kb) = (node::key(a.id()), node::key(b.id()));
        let ctl = NetCtl::current();
        write(&mut aw, "under way").await.unwrap();
        ctl.cut(ka, kb);
        write(&mut aw, ", held back").await.unwrap();
        let mut buf = BytesMut::new();
        assert!(timeout_at(now() + ms(30_000), br.read_buf(&mut buf)).await.is_err());
        // The other direction works.
        write(&mut bw, "still here").await.unwrap();
        assert!(!read_once(&mut ar).await.unwrap().is_empty());
        assert_eq!(ctl.cuts().len(), 1);
        assert!(ctl.cuts()[0].since < ms(100));
        ctl.heal(ka, kb);
        while buf.len() < 20 {
            timeout_at(now() + ms(2000), br.read_buf(&mut buf)).await.unwrap().unwrap();
        }
        assert_eq!(&buf[..], b"under way, held back");
    });
}

#[test]
fn a_cut_on_the_way_back_fills_the_window() {
    simulate(1, net(quiet()), || async {
        let (a, b, (_ar, mut aw), (mut br, _bw)) = pair().await;
        let (ka, kb) = (node::key(a.id()), node::key(b.id()));
        NetCtl::current().cut(kb, ka);
        let reader = madsim::task::spawn(async move { read_all(&mut br).await.0.len() });
        let mut bufs = VecDeque::from([Bytes::from(vec![7; 300_000])]);
        assert!(timeout_at(now() + ms(20_000), aw.write_all(&mut bufs)).await.is_err());
        NetCtl::current().heal_all();
        aw.write_all(&mut bufs).await.unwrap();
        drop(aw);
        assert_eq!(reader.await.unwrap(), 300_000);
    });
}

#[test]
fn a_sender_gives_up_after_a_long_cut() {
    let config = NetConfig { abort_after: ms(5000)..ms(6000), ..quiet() };
    simulate(1, net(config), || async {
        let (a, b, (mut ar, mut aw), (mut br, mut bw)) = pair().await;
        let (ka, kb) = (node::key(a.id()), node::key(b.id()));
        NetCtl::current().cut_both(ka, kb);
        write(&mut aw, "hello").await.unwrap();
        let start = now();
        assert_eq!(read_once(&mut ar).await, Err(ErrorKind::TimedOut));
        assert!((ms(5000)..ms(6100)).contains(&start.elapsed()));
        NetCtl::current().heal_all();
        // The other end knows nothing yet, until it sends.
        let mut buf = BytesMut::new();
        assert!(timeout_at(now() + ms(20_000), br.read_buf(&mut buf)).await.is_err());
        write(&mut bw, "hello").await.unwrap();
        assert_eq!(read_once(&mut br).await, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_slow_link_is_slow_one_way() {
    simulate(1, net(quiet()), || async {
        let (a, b, (mut ar, mut aw), (mut br, mut bw)) = pair().await;
        NetCtl::current().slow(node::key(a.id()), node::key(b.id()), 100.0);
        let start = now();
        write(&mut bw, "quick").await.unwrap();
        read_once(&mut ar).await.unwrap();
        assert!(start.elapsed() < ms(10));
        write(&mut aw, "slow").await.unwrap();
        read_once(&mut br).await.unwrap();
        assert!(start.elapsed() >= ms(100));
    });
}

#[test]
fn lost_pieces_come_late_and_in_order() {
    simulate(1, net(NetConfig { loss: 0.3, ..quiet() }), || async {
        let (_a, _b, (_ar, mut aw), (mut br, _bw)) = pair().await;
        let start = now();
        for i in 0..50u8 {
            write(&mut aw, vec![i]).await.unwrap();
        }
        drop(aw);
        let (got, end) = read_all(&mut br).await;
        assert_eq!((got.to_vec(), end), ((0..50).collect(), Ok(())));
        assert!(start.elapsed() >= ms(200));
    });
}

#[test]
fn bandwidth_makes_much_take_longer() {
    simulate(1, net(NetConfig { bandwidth: Some(1_000_000), ..quiet() }), || async {
        let (_a, _b, (_ar, mut aw), (mut br, _bw)) = pair().await;
        let start = now();
        let reader = madsim::task::spawn(async move { read_all(&mut br).await.0.len() });
        write(&mut aw, vec![0; 500_000]).await.unwrap();
        drop(aw);
        assert_eq!(reader.await.unwrap(), 500_000);
        assert!((ms(500)..ms(1000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    });
}

#[test]
fn random_resets_break_connections_at_both_ends() {
    simulate(1, net(NetConfig { reset_probability: 1.0, ..quiet() }), || async {
        let (_a, _b, (mut ar, mut aw), (mut br, _bw)) = pair().await;
        write(&mut aw, "x").await.unwrap();
        assert_eq!(read_once(&mut br).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(read_once(&mut ar).await, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn ports_are_taken_given_and_freed() {
    simulate(1, net(quiet()), || async {
        let b = new_node();
        let kb = node::key(b.id());
        on(&b, async move {
            let fixed = Listener::bind(any(PORT)).await.unwrap();
            assert_eq!(Listener::bind(any(PORT)).await.err().unwrap().kind(), ErrorKind::AddrInUse);
            let foreign = Listener::bind(addr(77)).await.err().unwrap();
            assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
            let free = Listener::bind(any(0)).await.unwrap();
            assert!(free.local_addr().port() >= 32_768);
            drop(fixed);
            assert_eq!(connect(addr(kb)).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
            let local: SocketAddr = format!("127.0.0.1:{PORT}").parse().unwrap();
            let local_only = Listener::bind(local).await.unwrap();
            assert_eq!(connect(addr(kb)).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
            let stream = connect(local).await.unwrap();
            assert!(stream.local_addr().ip().is_loopback());
            let (_, peer) = local_only.accept().await.unwrap();
            assert_eq!(peer, stream.local_addr());
        })
        .await;
    });
}

#[test]
fn dropping_a_listener_resets_what_it_did_not_accept() {
    simulate(1, net(quiet()), || async {
        let (a, b) = (new_node(), new_node());
        let listener = on(&b, async { Listener::bind(any(PORT)).await.unwrap() }).await;
        let to = addr(node::key(b.id()));
        let (mut reader, _writer) = on(&a, async move { connect(to).await.unwrap().split() }).await;
        drop(listener);
        assert_eq!(read_once(&mut reader).await, Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_restarted_process_listens_where_its_former_life_did() {
    for seed in 0..20 {
        simulate(seed, net(quiet()), || async {
            let a = new_node();
            let b = Handle::current()
                .create_node()
                .init(|| async {
                    let listener = Listener::bind(any(PORT)).await.unwrap();
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        write(&mut stream.split().1, "hi").await.unwrap();
                    }
                })
                .build();
            let to = addr(node::key(b.id()));
            for _ in 0..3 {
                sleep(ms(10)).await;
                let got =
                    on(&a, async move { read_all(&mut connect(to).await.unwrap().split().0).await }).await;
                assert_eq!(&got.0[..], b"hi");
                Handle::current().kill(b.id());
                Handle::current().restart(b.id());
            }
        });
    }
}

#[test]
fn a_paused_process_pushes_back_and_goes_on() {
    simulate(1, net(quiet()), || async {
        let (_a, b, (_ar, mut aw), (mut br, _bw)) = pair().await;
        let reader = b.spawn(async move { read_all(&mut br).await.0.len() });
        Handle::current().pause(b.id());
        let mut bufs = VecDeque::from([Bytes::from(vec![7; 300_000])]);
        assert!(timeout_at(now() + ms(5000), aw.write_all(&mut bufs)).await.is_err());
        Handle::current().resume(b.id());
        aw.write_all(&mut bufs).await.unwrap();
        drop(aw);
        assert_eq!(reader.await.unwrap(), 300_000);
    });
}

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
            let before = clock::now();
            pair().await;
            assert!(before < clock::now());
            trace::captured()
        })
    };
    assert!(run(0).is_empty());
    let captured = run(1);
    assert!(!captured.is_empty() && captured.len() <= 50);
    assert_eq!(captured, run(1));
    assert!(captured.windows(2).all(|w| w[0].0 + 1 == w[1].0 && w[0].1 <= w[1].1));
}

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::clock::{now, sleep, timeout_at};
use crate::net::Listener;
use crate::sim::net::{NetConfig, NetCtl};
use crate::sim::{node, simulate, Options};

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

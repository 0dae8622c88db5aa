use std::collections::VecDeque;
use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use madsim::runtime::Handle;

use super::*;
use crate::clock::{now, sleep, timeout_at};
use crate::net::Listener;
use crate::sim::net::{NetConfig, NetCtl};
use crate::sim::{node, simulate};

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
fn a_lossy_link_cures_nothing_and_healing_ends_what_the_network_does_of_its_own_accord() {
    simulate(1, net(quiet()), || async {
        let (a, b, (_ar, mut aw), (mut br, _bw)) = pair().await;
        NetCtl::current().configure(|config| config.loss = 1.0);
        let (ka, kb) = (node::key(a.id()), node::key(b.id()));
        for loss in [0.0, 0.1] {
            NetCtl::current().lose(ka, kb, loss);
            let start = now();
            write(&mut aw, "x").await.unwrap();
            read_once(&mut br).await.unwrap();
            assert!(start.elapsed() > ms(200), "{loss}");
        }
        NetCtl::current().configure(|config| config.reset_probability = 1.0);
        NetCtl::current().heal_all();
        let start = now();
        write(&mut aw, "x").await.unwrap();
        read_once(&mut br).await.unwrap();
        assert!(start.elapsed() < ms(10));
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

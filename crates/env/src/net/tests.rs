//! What holds on a real loopback holds in simulation, and the other way round.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Listener, Port, ReadHalf, Stream, WriteHalf};
use crate::clock::{now, sleep};
use crate::disk::{Disk, Open};
use crate::task::spawn;
use crate::testing::run;

const SOON: Duration = Duration::from_secs(5);

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn listen() -> Listener {
    Listener::bind(loopback(0)).await.unwrap()
}

/// (client, server)
async fn pair() -> ((ReadHalf, WriteHalf), (ReadHalf, WriteHalf)) {
    let listener = listen().await;
    let to = listener.local_addr();
    let client = spawn("connect", async move { Stream::connect(to, now() + SOON).await.unwrap() });
    let (accepted, peer) = listener.accept().await.unwrap();
    let client = client.await.unwrap();
    assert_eq!((client.peer_addr(), client.local_addr()), (to, peer));
    assert_eq!((accepted.peer_addr(), accepted.local_addr()), (peer, to));
    (client.split(), accepted.split())
}

async fn read_to_end(mut half: ReadHalf) -> BytesMut {
    let mut buf = BytesMut::new();
    while half.read_buf(&mut buf).await.unwrap() > 0 {}
    buf
}

#[test]
fn a_gathered_write_arrives_whole_and_in_order() {
    run(|| async {
        let ((_cr, mut cw), (sr, _sw)) = pair().await;
        let mut bufs: VecDeque<Bytes> =
            (0..300u32).map(|i| Bytes::from(vec![i as u8; (i * 37 % 9001) as usize])).collect();
        let expected: Vec<u8> = bufs.iter().flatten().copied().collect();
        let reader = spawn("read", read_to_end(sr));
        cw.write_all(&mut bufs).await.unwrap();
        assert!(bufs.is_empty());
        cw.shutdown().await.unwrap();
        assert!(reader.await.unwrap() == expected);
    });
}

#[test]
fn an_interrupted_write_leaves_what_was_not_sent() {
    run(|| async {
        let ((_cr, mut cw), (sr, _sw)) = pair().await;
        let all = Bytes::from((0..20_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>());
        let mut bufs: VecDeque<Bytes> = all.chunks(1 << 20).map(|c| all.slice_ref(c)).collect();
        let waited =
            crate::clock::timeout_at(now() + Duration::from_millis(50), cw.write_all(&mut bufs)).await;
        assert!(waited.is_err() && !bufs.is_empty());
        let reader = spawn("read", read_to_end(sr));
        cw.write_all(&mut bufs).await.unwrap();
        drop(cw);
        assert!(reader.await.unwrap() == all);
    });
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    run(|| async {
        let ((cr, mut cw), (sr, mut sw)) = pair().await;
        cw.write_all(&mut VecDeque::from([Bytes::from("question")])).await.unwrap();
        cw.shutdown().await.unwrap();
        assert_eq!(&read_to_end(sr).await[..], b"question");
        sw.write_all(&mut VecDeque::from([Bytes::from("answer")])).await.unwrap();
        drop(sw);
        assert_eq!(&read_to_end(cr).await[..], b"answer");
    });
}

#[test]
fn a_read_takes_at_most_the_spare_capacity_and_makes_some_if_there_is_none() {
    run(|| async {
        let ((_cr, mut cw), (mut sr, _sw)) = pair().await;
        cw.write_all(&mut VecDeque::from([Bytes::from(vec![9; 1000])])).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let mut buf = BytesMut::with_capacity(10);
        let room = buf.capacity();
        assert!((1..=room).contains(&sr.read_buf(&mut buf).await.unwrap()));
        buf.resize(buf.capacity(), 0);
        let full = buf.len();
        assert!(sr.read_buf(&mut buf).await.unwrap() > 0);
        assert!(buf.len() > full);
    });
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    run(|| async {
        let to = listen().await.local_addr();
        let error = Stream::connect(to, now() + SOON).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_refuses_until_it_listens() {
    run(|| async {
        let port = Port::bind(loopback(0)).unwrap();
        let to = port.local_addr();
        assert_ne!(to.port(), 0);
        let error = Stream::connect(to, now() + SOON).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let listener = port.listen().unwrap();
        assert_eq!(listener.local_addr(), to);
        Stream::connect(to, now() + SOON).await.unwrap();
    });
}

#[test]
fn a_port_that_is_taken_says_so() {
    run(|| async {
        let first = listen().await;
        assert_ne!(first.local_addr().port(), 0);
        let error = Listener::bind(first.local_addr()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let addr = first.local_addr();
        drop(first);
        Listener::bind(addr).await.unwrap();
    });
}

#[test]
fn writing_to_who_has_left_fails() {
    run(|| async {
        let ((_cr, mut cw), server) = pair().await;
        drop(server);
        let failed = loop {
            match cw.write_all(&mut VecDeque::from([Bytes::from("hello?")])).await {
                Ok(()) => sleep(Duration::from_millis(1)).await,
                Err(error) => break error.kind(),
            }
        };
        assert!(matches!(failed, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{failed}");
    });
}

async fn file_of(dir: &std::path::Path, content: Bytes) -> crate::disk::File {
    let disk = Disk::open(dir).unwrap();
    let file = disk.open_file("records", Open::Create).await.unwrap();
    file.write_at(0, vec![content]).await.unwrap();
    file
}

#[test]
fn a_file_range_is_sent_between_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        let content: Bytes = (0..5_000_000u32).map(|i| (i % 253) as u8).collect::<Vec<_>>().into();
        let file = file_of(&path, content.clone()).await;
        let ((_cr, mut cw), (sr, _sw)) = pair().await;
        let reader = spawn("read", read_to_end(sr));
        cw.write_all(&mut VecDeque::from([Bytes::from("head")])).await.unwrap();
        cw.send_file(&file, 1000, 4_000_000).await.unwrap();
        cw.send_file(&file, 0, 0).await.unwrap();
        cw.write_all(&mut VecDeque::from([Bytes::from("tail")])).await.unwrap();
        cw.shutdown().await.unwrap();
        let got = reader.await.unwrap();
        assert!(got == [&b"head"[..], &content[1000..4_001_000], b"tail"].concat());
    });
}

#[test]
fn a_file_that_is_too_short_is_an_unexpected_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        let file = file_of(&path, Bytes::from_static(b"0123456789")).await;
        let ((_cr, mut cw), (sr, _sw)) = pair().await;
        let error = cw.send_file(&file, 4, 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        drop(cw);
        assert_eq!(&read_to_end(sr).await[..], b"456789");
    });
}

#[cfg(all(target_os = "linux", not(madsim)))]
#[test]
fn what_the_page_cache_lacks_is_read_by_a_thread_of_the_disk_and_then_sent() {
    /// The threads that read for a disk.
    fn readers() -> std::collections::BTreeSet<std::path::PathBuf> {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        let name =
            |thread: &std::path::PathBuf| std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
        threads.filter(|thread| name(thread).starts_with("norn-disk-r")).collect()
    }
    let beside = std::env::current_exe().unwrap();
    let dir = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
    let path = dir.path().to_owned();
    run(move || async move {
        let content: Bytes = vec![7; 3_000_000].into();
        let file = file_of(&path, content.clone()).await;
        file.sync_data().await.unwrap();
        // A look at what is not there makes the kernel begin to read it, and it may be there before the look is over.
        for attempt in 0.. {
            assert!(attempt < 100);
            // SAFETY: a call without pointers.
            let dropped = unsafe { libc::posix_fadvise(file.raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            assert_eq!(dropped, 0);
            let before = readers();
            let ((_cr, mut cw), (sr, _sw)) = pair().await;
            let reader = spawn("read", read_to_end(sr));
            cw.send_file(&file, 0, 3_000_000).await.unwrap();
            cw.shutdown().await.unwrap();
            assert!(reader.await.unwrap() == content);
            if !readers().is_subset(&before) {
                break;
            }
        }
    });
}

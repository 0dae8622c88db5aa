//! The simulated TCP: how bytes flow, what faults do, and that one seed is one trace.

mod faults;
mod flow;
mod traces;

use std::collections::VecDeque;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use madsim::runtime::{Handle, NodeHandle};

use super::NetConfig;
use crate::clock::now;
use crate::net::{Listener, ReadHalf, Stream, WriteHalf};
use crate::sim::{node, Options};

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

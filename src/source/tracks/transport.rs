//! The sockets of a peer: UDP, and TCP to a server that UDP does not reach (RFC 6544, framed as in
//! RFC 4571).
//!
//! There is one UDP socket for each local address with a route to a server. UDP packets wait in the
//! kernel until they are read. TCP packets are read by tasks, which end with this value, and wait
//! in one bounded queue.

mod datagram;
mod udp;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::net::{Protocol, Transmit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(super) use datagram::Datagram;
use udp::Udp;

use crate::outbound::Guard;

/// Packets that may wait, about 0.3 s of a busy room. If the machine is overloaded, more are lost
/// and requested again.
const BACKLOG: usize = 1024;
/// Packets that are read from one socket in a row.
const AT_ONCE: usize = 256;
const TCP_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Transport {
    udp: Vec<Udp>,
    tcp: Vec<Tcp>,
    arrivals: mpsc::Receiver<Datagram>,
    /// The first packet that arrived over TCP and was not taken.
    arrived: Option<Datagram>,
    arrive: mpsc::Sender<Datagram>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Tcp {
    local: SocketAddr,
    remote: SocketAddr,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Transport {
    pub(super) fn new() -> Self {
        let (arrive, arrivals) = mpsc::channel(BACKLOG);
        Self { udp: Vec::new(), tcp: Vec::new(), arrivals, arrived: None, arrive, tasks: JoinSet::new() }
    }

    /// Binds a socket at this local address. Returns its address; `None` if there is one already.
    pub(super) fn bind(&mut self, ip: IpAddr) -> io::Result<Option<SocketAddr>> {
        if self.udp.iter().any(|udp| udp.local().ip() == ip) {
            return Ok(None);
        }
        let udp = Udp::bind(ip)?;
        let local = udp.local();
        self.udp.push(udp);
        Ok(Some(local))
    }

    /// From now on UDP packets no longer wake the process and are read at intervals. Waking up
    /// costs more than reading a packet.
    pub(super) fn start_polling(&mut self) {
        self.udp.iter_mut().for_each(Udp::start_polling);
    }

    /// Connects to a server's passive candidate. Returns the local address.
    pub(super) async fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let connecting = Guard::of_process().connect_to(remote);
        let stream = tokio::time::timeout(TCP_WITHIN, connecting).await??;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let (read, write) = stream.into_split();
        let (queue, queued) = mpsc::channel(BACKLOG);
        self.tasks.spawn(read_tcp(read, local, remote, self.arrive.clone()));
        self.tasks.spawn(write_tcp(write, queued));
        self.tcp.push(Tcp { local, remote, queue });
        Ok(local)
    }

    /// Sends a packet. Like in a network, it may be lost.
    pub(super) fn send(&self, transmit: &Transmit) {
        let lost = match transmit.proto {
            Protocol::Udp => {
                let udp = self.udp.iter().find(|udp| udp.local() == transmit.source);
                udp.map(|udp| udp.send(&transmit.contents, transmit.destination).is_err())
            }
            _ => {
                let is_it = |tcp: &&Tcp| tcp.local == transmit.source && tcp.remote == transmit.destination;
                let tcp = self.tcp.iter().find(is_it);
                tcp.map(|tcp| tcp.queue.try_send(transmit.contents.to_vec()).is_err())
            }
        };
        if lost != Some(false) {
            tracing::trace!(to = %transmit.destination, "packet not sent");
        }
    }

    /// Waits until a packet arrives. Cancel-safe.
    pub(super) async fn arrived(&mut self) {
        let by_udp = poll_fn(|context| {
            // Every socket is polled, so that every one wakes this task.
            let ready = self.udp.iter().filter(|udp| udp.poll_arrived(context).is_ready()).count();
            if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = by_udp => {}
            // Never closed, because `arrive` lives as long as this value.
            datagram = self.arrivals.recv(), if self.arrived.is_none() => self.arrived = datagram,
        }
    }

    /// Reads the packets that have arrived.
    pub(super) fn take(&mut self, into: &mut Vec<Datagram>) {
        for udp in &mut self.udp {
            udp.take(into, AT_ONCE);
        }
        into.extend(self.arrived.take());
        into.extend(std::iter::from_fn(|| self.arrivals.try_recv().ok()).take(AT_ONCE));
    }
}

/// The local address of the route to this address. It connects a UDP socket and sends nothing.
pub(super) async fn route_to(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).await?;
    probe.connect(remote).await?;
    Ok(probe.local_addr()?.ip())
}

async fn read_tcp(
    mut read: OwnedReadHalf,
    local: SocketAddr,
    remote: SocketAddr,
    arrive: mpsc::Sender<Datagram>,
) {
    loop {
        let mut packet = Vec::new();
        let read = async {
            let len = read.read_u16().await?;
            packet.resize(usize::from(len), 0);
            read.read_exact(&mut packet).await
        };
        if let Err(error) = read.await {
            tracing::debug!(%error, %remote, "media connection over TCP closed");
            return;
        }
        let bytes = Bytes::from(packet);
        let datagram = Datagram { at: Instant::now(), protocol: Protocol::Tcp, remote, local, bytes };
        if arrive.send(datagram).await.is_err() {
            return;
        }
    }
}

async fn write_tcp(mut write: OwnedWriteHalf, mut queued: mpsc::Receiver<Vec<u8>>) {
    while let Some(packet) = queued.recv().await {
        let Ok(len) = u16::try_from(packet.len()) else { continue };
        let framed = [&len.to_be_bytes(), packet.as_slice()].concat();
        if write.write_all(&framed).await.is_err() {
            return;
        }
    }
}

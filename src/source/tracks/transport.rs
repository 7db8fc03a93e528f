//! Sockets for a peer: UDP, and TCP to a server that is not reached otherwise (RFC 6544, framed as in RFC 4571).
//!
//! A socket for each address of this machine that leads to a server, bound when the first such server is heard of. What came by
//! UDP waits in the kernel until it is taken; of TCP, readers are tasks that end with this value, and what they read waits in one
//! bounded queue.

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

/// Some 0.3 s of a busy room; when more waits, the machine is drowning, and what is lost is asked for again.
const BACKLOG: usize = 1024;
/// Taken at once of each socket, before anything else has its turn.
const AT_ONCE: usize = 256;
const TCP_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Transport {
    udp: Vec<Udp>,
    tcp: Vec<Tcp>,
    arrivals: mpsc::Receiver<Datagram>,
    /// The first of those that arrived by TCP.
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

    /// Binds a socket at this address of the machine; gives where it is, `None` when there was one already.
    pub(super) fn bind(&mut self, ip: IpAddr) -> io::Result<Option<SocketAddr>> {
        if self.udp.iter().any(|udp| udp.local().ip() == ip) {
            return Ok(None);
        }
        let udp = Udp::bind(ip)?;
        let local = udp.local();
        self.udp.push(udp);
        Ok(Some(local))
    }

    /// From now on what comes by UDP wakes nobody: it is taken now and then. Waking up costs more than a packet does.
    pub(super) fn start_polling(&mut self) {
        self.udp.iter_mut().for_each(Udp::start_polling);
    }

    /// Connects to a server's passive candidate; gives our end.
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

    /// Sends, or loses it as a network would.
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
            tracing::trace!(to = %transmit.destination, "a packet was not sent");
        }
    }

    /// Waits for something to arrive. Nothing is lost when the future is dropped.
    pub(super) async fn arrived(&mut self) {
        let by_udp = poll_fn(|context| {
            // Each is asked, so that each tells.
            let ready = self.udp.iter().filter(|udp| udp.poll_arrived(context).is_ready()).count();
            if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            () = by_udp => {}
            // `arrive` lives as long as this does: there is never nobody who could send.
            datagram = self.arrivals.recv(), if self.arrived.is_none() => self.arrived = datagram,
        }
    }

    /// Takes what is there.
    pub(super) fn take(&mut self, into: &mut Vec<Datagram>) {
        for udp in &mut self.udp {
            udp.take(into, AT_ONCE);
        }
        into.extend(self.arrived.take());
        into.extend(std::iter::from_fn(|| self.arrivals.try_recv().ok()).take(AT_ONCE));
    }
}

/// From where packets to this address leave: a socket is connected for the kernel to choose a route; nothing is sent.
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
            tracing::debug!(%error, %remote, "a connection for media ended");
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

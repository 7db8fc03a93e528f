//! Sockets for a peer: UDP, and TCP to a server that is not reached otherwise (RFC 6544, framed as in RFC 4571).
//!
//! A socket for each address of this machine that leads to a server, bound when the first such server is heard of. Readers
//! are tasks that end with this value; what they read waits in one bounded queue.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::net::{Protocol, Transmit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Some 0.3 s of a busy room; when more waits, the machine is drowning, and what is lost is asked for again.
const BACKLOG: usize = 1024;
/// The largest datagram that a peer sends, with room.
const DATAGRAM: usize = 2048;
const TCP_WITHIN: Duration = Duration::from_secs(5);

/// Something that arrived.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) at: Instant,
    pub(super) protocol: Protocol,
    pub(super) remote: SocketAddr,
    /// Address of the socket it came in at.
    pub(super) local: SocketAddr,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Transport {
    udp: Vec<(SocketAddr, Arc<UdpSocket>)>,
    tcp: Vec<Tcp>,
    arrivals: mpsc::Receiver<Datagram>,
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
        Self { udp: Vec::new(), tcp: Vec::new(), arrivals, arrive, tasks: JoinSet::new() }
    }

    /// Binds a socket at this address of the machine; gives where it is, `None` when there was one already.
    pub(super) async fn bind(&mut self, ip: IpAddr) -> io::Result<Option<SocketAddr>> {
        if self.udp.iter().any(|(local, _)| local.ip() == ip) {
            return Ok(None);
        }
        let socket = Arc::new(UdpSocket::bind((ip, 0)).await?);
        let local = socket.local_addr()?;
        self.udp.push((local, Arc::clone(&socket)));
        self.tasks.spawn(read_udp(socket, local, self.arrive.clone()));
        Ok(Some(local))
    }

    /// Connects to a server's passive candidate; gives our end.
    pub(super) async fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let stream = tokio::time::timeout(TCP_WITHIN, TcpStream::connect(remote)).await??;
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
                let socket = self.udp.iter().find(|(local, _)| *local == transmit.source);
                socket
                    .map(|(_, socket)| socket.try_send_to(&transmit.contents, transmit.destination).is_err())
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

    /// Waits for something to arrive, and takes what else is there. Nothing is lost when the future is dropped.
    pub(super) async fn arrived(&mut self, into: &mut Vec<Datagram>) {
        const AT_ONCE: usize = 64;
        // `arrive` lives as long as this does: there is never nobody who could send.
        self.arrivals.recv_many(into, AT_ONCE).await;
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

async fn read_udp(socket: Arc<UdpSocket>, local: SocketAddr, arrive: mpsc::Sender<Datagram>) {
    let mut buffer = [0; DATAGRAM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, remote)) => {
                let bytes = Bytes::copy_from_slice(&buffer[..len]);
                let datagram = Datagram { at: Instant::now(), protocol: Protocol::Udp, remote, local, bytes };
                if arrive.send(datagram).await.is_err() {
                    return;
                }
            }
            // A port that nobody listens at (ICMP) says so here, for another packet than the next one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::debug!(%error, %local, "a socket for media failed");
                return;
            }
        }
    }
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

//! A UDP socket that wakes its task, or is polled at intervals. Packets carry the time at which the
//! kernel received them, however late they are read.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use str0m::net::Protocol;
use tokio::io::Interest;

use super::datagram::Datagram;

/// Buffer for one datagram: more than the largest that a peer sends.
const DATAGRAM: usize = 2048;
/// Size of the kernel's receive buffer, including its overhead: some seconds of a screen share, or
/// of fifty people. The kernel limits it to `net.core.rmem_max`.
const WAITING: usize = 4 << 20;
/// Greatest age of a packet. A greater one means that the system clock was set.
const OLDEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Udp {
    local: SocketAddr,
    socket: UdpSocket,
    /// The same socket, registered for wake-ups; `None` if it is polled.
    events: Option<tokio::net::UdpSocket>,
    /// Buffer for control messages, which carry the time of a packet.
    beside: Vec<u8>,
}

/// One moment on both clocks. The kernel's timestamps are of the wall clock.
#[derive(Debug, Clone, Copy)]
struct Now {
    monotonic: Instant,
    wall: SystemTime,
}

impl Udp {
    /// Binds a socket at this local address.
    pub(super) fn bind(ip: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        // The kernel adds a timestamp to each packet.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RcvBuf, &WAITING)?;
        let events = Some(tokio::net::UdpSocket::from_std(socket.try_clone()?)?);
        Ok(Self { local: socket.local_addr()?, socket, events, beside: nix::cmsg_space!(TimeSpec) })
    }

    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// From now on packets no longer wake the process.
    pub(super) fn start_polling(&mut self) {
        self.events = None;
    }

    /// Ready if a packet may be there; never after [`Udp::start_polling`]. Wakes the last caller.
    pub(super) fn poll_arrived(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(events) = &self.events else { return Poll::Pending };
        match events.poll_recv_ready(context) {
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, local = %self.local, "media socket failed");
                Poll::Pending
            }
            other => other.map(drop),
        }
    }

    /// Reads up to `most` packets.
    pub(super) fn take(&mut self, into: &mut Vec<Datagram>, most: usize) {
        let now = Now { monotonic: Instant::now(), wall: SystemTime::now() };
        let mut buffer = [0; DATAGRAM];
        for _ in 0..most {
            let (socket, beside) = (&self.socket, &mut self.beside);
            let mut read = || received(socket, &mut buffer, beside);
            let taken = match &self.events {
                Some(events) => events.try_io(Interest::READABLE, read),
                None => read(),
            };
            match taken {
                Ok((length, remote, stamp)) => into.push(Datagram {
                    at: now.of(stamp),
                    protocol: Protocol::Udp,
                    remote,
                    local: self.local,
                    bytes: Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default()),
                }),
                // ICMP's answer to a packet that was sent to a closed port.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::debug!(%error, local = %self.local, "media socket failed");
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(bytes, to)
    }
}

impl Now {
    /// The monotonic time of a kernel timestamp.
    fn of(self, stamp: Option<SystemTime>) -> Instant {
        let age = stamp.and_then(|stamp| self.wall.duration_since(stamp).ok()).unwrap_or_default();
        self.monotonic.checked_sub(age.min(OLDEST)).unwrap_or(self.monotonic)
    }
}

/// Reads one packet. Returns its length, its sender and its kernel timestamp.
fn received(
    socket: &UdpSocket,
    buffer: &mut [u8],
    beside: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<SystemTime>)> {
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(beside), flags)?;
    let stamp = message.cmsgs()?.find_map(|beside| match beside {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(UNIX_EPOCH + Duration::from(stamp)),
        _ => None,
    });
    let remote = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
    Ok((message.bytes, remote, stamp))
}

fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let four = of.as_sockaddr_in().map(|four| SocketAddr::V4((*four).into()));
    four.or_else(|| of.as_sockaddr_in6().map(|six| SocketAddr::V6((*six).into())))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use super::*;

    fn local() -> (Udp, UdpSocket) {
        let ours = Udp::bind(Ipv4Addr::LOCALHOST.into()).unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        (ours, theirs)
    }

    #[tokio::test]
    async fn packets_wake_the_task_until_the_socket_is_polled() {
        let (mut ours, theirs) = local();
        theirs.send_to(b"one", ours.local()).unwrap();
        let arrived = poll_fn(|context| ours.poll_arrived(context));
        tokio::time::timeout(Duration::from_secs(20), arrived).await.expect("it is woken");
        let mut taken = Vec::new();
        ours.take(&mut taken, 10);
        assert_eq!(taken.len(), 1);
        // The socket is empty.
        assert!(futures::FutureExt::now_or_never(poll_fn(|context| ours.poll_arrived(context))).is_none());
        ours.start_polling();
        theirs.send_to(b"two", ours.local()).unwrap();
        assert!(futures::FutureExt::now_or_never(poll_fn(|context| ours.poll_arrived(context))).is_none());
        ours.take(&mut taken, 10);
        assert_eq!(taken.len(), 2);
        ours.send(b"three", theirs.local_addr().unwrap()).unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 10];
        assert_eq!(theirs.recv(&mut buffer).unwrap(), 5);
    }

    #[test]
    fn setting_the_clock_moves_packets_by_at_most_a_second() {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_hours(100) };
        assert_eq!(now.of(None), now.monotonic);
        let at = |hours| now.of(Some(UNIX_EPOCH + Duration::from_hours(hours)));
        assert_eq!(at(101), now.monotonic, "set back since");
        assert_eq!(at(99), now.monotonic.checked_sub(OLDEST).unwrap(), "set forward since");
    }

    /// Tests that wait for the real clock.
    mod real_time {
        use super::*;

        #[tokio::test]
        async fn packets_have_the_time_of_their_arrival() {
            let (mut ours, theirs) = local();
            ours.start_polling();
            // The kernel enables timestamps some time after the first socket of the machine
            // requested them. Until then a packet has the time at which it is read.
            let mut tries = 1;
            while let Err(error) = ages(&mut ours, &theirs).await {
                assert!(tries < 10, "{error}");
                tries += 1;
            }
        }

        /// Sends two packets at different times, and reads both together. Fails if one has a wrong
        /// age.
        async fn ages(ours: &mut Udp, theirs: &UdpSocket) -> Result<(), String> {
            let before = Instant::now();
            theirs.send_to(b"one", ours.local()).unwrap();
            let sent = Instant::now();
            tokio::time::sleep(Duration::from_millis(300)).await;
            theirs.send_to(b"two", ours.local()).unwrap();
            let mut taken = Vec::new();
            ours.take(&mut taken, 10);
            let [one, two] = taken.as_slice() else { panic!("{taken:?}") };
            assert_eq!((&one.bytes[..], &two.bytes[..]), (&b"one"[..], &b"two"[..]));
            assert_eq!((one.remote, one.local), (theirs.local_addr().unwrap(), ours.local()));
            // The two clocks are read one after the other.
            let slack = Duration::from_millis(50);
            if one.at + slack < before || one.at > sent + slack {
                return Err(format!("the first is {:?} late", one.at.duration_since(before)));
            }
            if two.at < sent + Duration::from_millis(250) {
                return Err(format!("the second came {:?} after the first", two.at.duration_since(sent)));
            }
            Ok(())
        }
    }
}

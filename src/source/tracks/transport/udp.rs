//! A UDP socket that is waited for, or looked at now and then. What arrived has the time that the kernel saw it, however late it
//! is read.

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

/// The largest datagram that a peer sends, with room.
const DATAGRAM: usize = 2048;
/// Bytes that wait in the kernel, its own words on each packet included: some seconds of a screen, or of fifty people. A kernel that
/// allows less (`net.core.rmem_max`) gives what it allows.
const WAITING: usize = 4 << 20;
/// Nothing waits longer to be read; a time that says so comes of a clock that was set.
const OLDEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Udp {
    local: SocketAddr,
    socket: UdpSocket,
    /// The same socket, which says when something is there. Each packet wakes the process then, whether anybody asks or not.
    events: Option<tokio::net::UdpSocket>,
    /// Where the kernel puts the time of a packet.
    beside: Vec<u8>,
}

/// One moment by both clocks: the kernel's stamps are of the one that can be set.
#[derive(Debug, Clone, Copy)]
struct Now {
    monotonic: Instant,
    wall: SystemTime,
}

impl Udp {
    /// Binds a socket at this address of the machine.
    pub(super) fn bind(ip: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        // Without it a packet counts as arriving when it is read.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RcvBuf, &WAITING)?;
        let events = Some(tokio::net::UdpSocket::from_std(socket.try_clone()?)?);
        Ok(Self { local: socket.local_addr()?, socket, events, beside: nix::cmsg_space!(TimeSpec) })
    }

    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// From now on nothing wakes the process: it looks by itself.
    pub(super) fn start_polling(&mut self) {
        self.events = None;
    }

    /// Ready when there is something; never where nobody is woken. Whoever asked last is told.
    pub(super) fn poll_arrived(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(events) = &self.events else { return Poll::Pending };
        match events.poll_recv_ready(context) {
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, local = %self.local, "a socket for media failed");
                Poll::Pending
            }
            other => other.map(drop),
        }
    }

    /// Takes what is there, up to so many packets.
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
                // A port that nobody listens at (ICMP) says so here, for another packet than the next one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        tracing::debug!(%error, local = %self.local, "a socket for media failed");
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
    /// When something was that has this stamp.
    fn of(self, stamp: Option<SystemTime>) -> Instant {
        let age = stamp.and_then(|stamp| self.wall.duration_since(stamp).ok()).unwrap_or_default();
        self.monotonic.checked_sub(age.min(OLDEST)).unwrap_or(self.monotonic)
    }
}

/// One packet: its length, who sent it, and when the kernel had it.
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
    async fn it_is_told_of_what_arrives_until_it_looks_by_itself() {
        let (mut ours, theirs) = local();
        theirs.send_to(b"one", ours.local()).unwrap();
        let arrived = poll_fn(|context| ours.poll_arrived(context));
        tokio::time::timeout(Duration::from_secs(20), arrived).await.expect("it is told");
        let mut taken = Vec::new();
        ours.take(&mut taken, 10);
        assert_eq!(taken.len(), 1);
        // Nothing is left of it.
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
    fn a_clock_that_was_set_moves_nothing_by_more_than_a_second() {
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
        async fn what_arrived_is_as_old_as_it_is_and_not_as_its_reading() {
            let (mut ours, theirs) = local();
            ours.start_polling();
            // The kernel stamps packets only from some time after the first socket of the machine asked for it. Until then a packet
            // is as old as its reading.
            let mut tries = 1;
            while let Err(error) = ages(&mut ours, &theirs).await {
                assert!(tries < 10, "{error}");
                tries += 1;
            }
        }

        /// Sends two packets, the second one later, and reads both at once. Fails where one has a wrong age.
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
            // Two clocks are read one after the other.
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

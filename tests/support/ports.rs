//! Ports that stay free until somebody listens on them, and sockets that stop listening at once.
//!
//! Other tests start programs at the same time. Between `fork` and `exec` each of those children
//! has a copy of every socket of this process, so a listening socket that is only dropped here goes
//! on listening there for some milliseconds: connections are not refused, and nobody else can
//! listen on the port.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::socket::{
    AddressFamily, Shutdown, SockFlag, SockType, SockaddrIn, bind, setsockopt, shutdown, socket, sockopt,
};

/// The kernel picks ports of outgoing connections, and for port 0, from here on (Linux's default).
const EPHEMERAL: u16 = 32768;
const FIRST: u16 = 15000;

/// Distinct loopback ports on which nothing listens, outside the kernel's ephemeral range: a server
/// takes seconds from its first port to its last, and connects meanwhile. They are free for TCP and
/// UDP.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let room = EPHEMERAL - FIRST;
    // Test programs that run side by side start at different ports.
    let start = (std::process::id() % u32::from(room)) as u16;
    let mut candidates = (0..room).filter_map(|_| {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % room) % room;
        [SockType::Stream, SockType::Datagram].into_iter().all(|kind| is_free(kind, port)).then_some(port)
    });
    std::array::from_fn(|_| candidates.next().expect("a port is free"))
}

/// A loopback port on which nothing listens, now or later.
pub(crate) fn closed() -> u16 {
    let [port] = free();
    port
}

/// An address of this machine without a web server.
pub(crate) fn nobody() -> String {
    format!("http://127.0.0.1:{}", closed())
}

/// Closes a listening socket, and stops its copies in child processes from listening.
pub(crate) fn stop_listening(listener: impl AsFd) {
    shutdown(listener.as_fd().as_raw_fd(), Shutdown::Both).expect("a listening socket");
}

/// Whether a port can be bound. The probe does not listen and allows others to bind the port, so a
/// child's copy of it does no harm.
fn is_free(kind: SockType, port: u16) -> bool {
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    setsockopt(&socket, sockopt::ReuseAddr, &true).expect("any socket has this option");
    let [a, b, c, d] = Ipv4Addr::LOCALHOST.octets();
    bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port)).is_ok()
}

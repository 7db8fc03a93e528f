//! Ports that stay free until somebody listens on them.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The kernel takes the ports of outgoing connections, and those that are asked for as 0, from here on (Linux's default).
const EPHEMERAL: u16 = 32768;
const FIRST: u16 = 15000;

/// Different ports of loopback on which nothing listens, and none of which the kernel gives away by itself: a server takes
/// seconds from its first port to its last, and connects meanwhile.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let room = EPHEMERAL - FIRST;
    // Test programs that run side by side begin at different places.
    let start = (std::process::id() % u32::from(room)) as u16;
    let mut candidates = (0..room).filter_map(|_| {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % room) % room;
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    std::array::from_fn(|_| candidates.next().expect("a port is free"))
}

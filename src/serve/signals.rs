//! Maps signals to shutdown requests of a service.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::recorder::is_ignored;

/// A requested way to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShutdownRequest {
    /// SIGTERM, SIGQUIT, and SIGHUP of a terminal that goes away: take no more work, and end when
    /// what is recorded has come to its own end.
    Drain,
    /// SIGINT: end now, and finish every file.
    End,
}

pub(super) struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    /// `None`: started by `nohup` or the like, it goes on without its terminal.
    hang_up: Option<Signal>,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let stays = is_ignored(nix::sys::signal::Signal::SIGHUP);
        Ok(Self {
            hang_up: if stays { None } else { Some(signal(SignalKind::hangup())?) },
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) -> ShutdownRequest {
        tokio::select! {
            _ = self.terminate.recv() => ShutdownRequest::Drain,
            _ = self.quit.recv() => ShutdownRequest::Drain,
            () = hung_up(self.hang_up.as_mut()) => ShutdownRequest::Drain,
            _ = self.interrupt.recv() => ShutdownRequest::End,
        }
    }
}

async fn hung_up(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

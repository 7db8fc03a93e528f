//! The signals that end a recording.
//!
//! | signal | at a terminal | of a service's recorder |
//! |---|---|---|
//! | SIGINT, SIGQUIT | ends it gracefully; the second time drops everything | ends it gracefully |
//! | SIGTERM | the same | held back: the service knows what it means |
//! | SIGHUP | ends it gracefully, however often: a terminal that goes away sends more than one | ends it gracefully |
//!
//! SIGHUP and SIGQUIT that were ignored when the program was started, as `nohup` has it, stay
//! ignored.

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::{Command, StopCause};

/// The signals that end a recording wait from here on until the recorder listens to them. To be
/// called on the main thread before any other is started (threads inherit what is held back;
/// children do not): a Ctrl-C while the runtime comes up is neither lost nor the end of a process
/// that has something to clean up.
pub fn hold_signals() {
    // It can't fail: the set is valid. If it did, signals would come as they always do.
    all().thread_block().ok();
}

fn all() -> SigSet {
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().collect()
}

/// Whether this process was started with a signal ignored, as by `nohup`. To be asked before it is
/// listened to.
#[must_use]
pub fn is_ignored(signal: nix::sys::signal::Signal) -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    // Without /proc it is taken for one that ends the process.
    status.is_ok_and(|status| status.sigign >> (signal as i32 - 1) & 1 == 1)
}

/// Meaning of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Somebody wants it to end.
    End,
    /// The terminal is gone.
    HangUp,
}

/// The signals as they come.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Option<Signal>,
    quit: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Listens for a recording at a terminal.
    pub(super) fn listen() -> std::io::Result<Self> {
        let signals = Self { terminate: Some(signal(SignalKind::terminate())?), ..Self::supervised()? };
        // As above.
        SigSet::from(SIGTERM).thread_unblock().ok();
        Ok(signals)
    }

    /// Listens for a recording of a service. SIGTERM stays held back.
    pub(super) fn supervised() -> std::io::Result<Self> {
        let unless_ignored = |of, kind| if is_ignored(of) { Ok(None) } else { signal(kind).map(Some) };
        let (quit, hang_up) =
            (unless_ignored(SIGQUIT, SignalKind::quit())?, unless_ignored(SIGHUP, SignalKind::hangup())?);
        let signals = Self { interrupt: signal(SignalKind::interrupt())?, terminate: None, quit, hang_up };
        [SIGINT, SIGHUP, SIGQUIT].into_iter().collect::<SigSet>().thread_unblock().ok();
        Ok(signals)
    }

    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::End,
            () = next(self.terminate.as_mut()) => Wish::End,
            () = next(self.quit.as_mut()) => Wish::End,
            () = next(self.hang_up.as_mut()) => Wish::HangUp,
        }
    }
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Signals received by a recording at a terminal so far.
#[derive(Debug, Default)]
pub(super) struct Asked {
    is_ending: bool,
    /// Somebody has wanted the end, and not only a terminal gone away.
    by_somebody: bool,
    pub(super) twice: bool,
}

impl Asked {
    /// The command for a signal, given earlier ones.
    pub(super) fn on(&mut self, wish: Wish) -> Option<Command> {
        // A session that is closed sends SIGHUP and SIGTERM, in any order: nobody has asked twice
        // then.
        if wish == Wish::End && std::mem::replace(&mut self.by_somebody, true) {
            self.twice = true;
            return Some(Command::Abandon);
        }
        let is_first = !std::mem::replace(&mut self.is_ending, true);
        is_first.then_some(Command::Stop(StopCause::Signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_interrupt_drops_everything_and_a_terminal_that_goes_away_never_does() {
        let mut asked = Asked::default();
        assert!(matches!(asked.on(Wish::HangUp), Some(Command::Stop(StopCause::Signal))));
        // The shell hands it on, and so does the kernel when the shell ends; then the session's
        // SIGTERM.
        assert!(asked.on(Wish::HangUp).is_none() && asked.on(Wish::HangUp).is_none());
        assert!(asked.on(Wish::End).is_none() && !asked.twice);
        assert!(matches!(asked.on(Wish::End), Some(Command::Abandon)) && asked.twice);

        let mut asked = Asked::default();
        assert!(matches!(asked.on(Wish::End), Some(Command::Stop(StopCause::Signal))));
        assert!(asked.on(Wish::HangUp).is_none() && !asked.twice);
        assert!(matches!(asked.on(Wish::End), Some(Command::Abandon)) && asked.twice);
    }

    #[test]
    fn a_signal_is_ignored_only_where_somebody_has_said_so() {
        // Rust's runtime ignores SIGPIPE.
        assert!(is_ignored(nix::sys::signal::Signal::SIGPIPE));
        assert!(!is_ignored(SIGTERM));
    }
}

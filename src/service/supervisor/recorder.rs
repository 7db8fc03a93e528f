//! A recorder's process: how it is seen to end, and how it is killed.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::time::{interval, timeout};

use crate::ipc::egress_dir::EgressDir;
use crate::process::SelfExec;
use crate::service::recovery::Death;

/// Polling interval for the exit of a recorder that is not our child; there is no event for it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) enum Recorder {
    /// A child of ours.
    Started(SelfExec),
    /// A child of a former run of the service. It leads a process group, and holds its directory's
    /// lock as long as it lives.
    TakenOver { egress_dir: EgressDir, pid: i32 },
}

/// How a recorder's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    With(ExitStatus),
    /// Only a parent learns more.
    Somehow,
}

impl Recorder {
    pub(super) fn pid(&self) -> i32 {
        match self {
            Self::Started(own) => own.pid(),
            Self::TakenOver { pid, .. } => *pid,
        }
    }

    /// Waits for its end.
    pub(super) async fn exit(&self) -> Exit {
        match self {
            Self::Started(own) => Exit::With(own.exit().wait().await),
            Self::TakenOver { egress_dir, .. } => {
                let mut looks = interval(LOOK_EVERY);
                while egress_dir.is_occupied() {
                    looks.tick().await;
                }
                Exit::Somehow
            }
        }
    }

    /// Kills it; its children die with it. Waits until it is gone, `within` at most.
    pub(super) async fn kill(&self, within: Duration) {
        match self {
            Self::Started(own) => own.signal(Signal::SIGKILL),
            // As long as it holds the lock, the number is its own.
            Self::TakenOver { egress_dir, pid } if egress_dir.is_occupied() => {
                if let Err(error) = killpg(Pid::from_raw(*pid), Signal::SIGKILL) {
                    tracing::warn!(%error, pid, "recorder not killed");
                }
            }
            Self::TakenOver { .. } => {}
        }
        if timeout(within, self.exit()).await.is_err() {
            tracing::error!(pid = self.pid(), "recorder still runs after SIGKILL");
        }
    }
}

impl Exit {
    /// The death of a recorder without a last report.
    pub(super) fn death(self) -> Death {
        match self {
            // Nobody may have read any more: what it has written down counts.
            Self::With(status) if status.success() => Death::Unheard,
            Self::With(status) => Death::Sudden(format!("the recorder died: {}", how(status))),
            Self::Somehow => Death::Sudden("the recorder died".to_owned()),
        }
    }
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("it was killed by {}", signal.as_str()),
            Err(_) => format!("it was killed by signal {signal}"),
        },
        (None, None) => "it ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn an_exit_says_whether_what_is_written_down_counts() {
        let (zero, three, killed) =
            (ExitStatus::from_raw(0), ExitStatus::from_raw(3 << 8), ExitStatus::from_raw(9));
        assert_eq!(Exit::With(zero).death(), Death::Unheard);
        let died = |how: &str| Death::Sudden(format!("the recorder died{how}"));
        assert_eq!(Exit::With(three).death(), died(": it ended with exit code 3"));
        assert_eq!(Exit::With(killed).death(), died(": it was killed by SIGKILL"));
        assert_eq!(Exit::Somehow.death(), died(""));
    }
}

//! Looks for the recorder of a former run, until it is reached, gone or given up.

use std::io;
use std::time::Duration;

use livekit_protocol as proto;
use proto::EgressStatus;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Death;
use crate::ipc::egress_dir::{Alive, EgressDir};
use crate::ipc::{Cause, ToRecorder};
use crate::service::Service;
use crate::service::active::{ActiveEntry, Orphan};
use crate::service::supervisor::{self, Launched, Silence, Unreached};

/// How often it is looked whether a recorder still lives that another run of the service started.
/// Nothing tells.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// State of an egress that an earlier run of the service left.
pub(super) enum Found {
    /// Its recorder, and its name's place.
    Recorder(Box<Launched>, ActiveEntry),
    /// A recorder that was there, said nothing, and was killed.
    Hung(Death),
    /// Files at most. Nobody is at work there, and nobody will be as long as this is held.
    Left(Alive),
}

/// Finds the recorder of a cell, or waits until neither a recorder nor a recovery is at work in it.
///
/// A recorder that is ending, or has no socket, can't be reached. It comes to its end by itself,
/// and until then it is among the orphans. So is one that stands still, and what is wanted of it is
/// kept until it is reached. One that says nothing for as long as an attended one may is given up
/// as that is.
pub(super) async fn find(
    service: &Service,
    egress_dir: &EgressDir,
    entry: Option<ActiveEntry>,
) -> io::Result<Found> {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut entry, mut orphan) = (entry, None::<Orphan>);
    let mut silence = Silence::begin(Instant::now());
    loop {
        looks.tick().await;
        let unreached = match egress_dir.enter()? {
            Some(alive) if !egress_dir.is_worked_on() => return Ok(Found::Left(alive)),
            Some(_) => None,
            None => match supervisor::take_over(egress_dir, &wishes(service, orphan.as_ref())).await {
                Ok(launched) => {
                    if let Some(entry) = entry.take().or_else(|| service.active.entry(egress_dir.egress_id()))
                    {
                        // Said while it was tried.
                        if orphan.take().is_some_and(Orphan::leave) {
                            launched.handle.ask_to_stop();
                        }
                        return Ok(Found::Recorder(Box::new(launched), entry));
                    }
                    silence.end(Instant::now());
                    continue;
                }
                Err(Unreached::Silent(recorder)) if silence.look(Instant::now()) => {
                    return Ok(Found::Hung(recorder.give_up().await));
                }
                Err(unreached) => Some(unreached),
            },
        };
        if let Some(unreached) = &unreached {
            tracing::debug!(?unreached, "recorder unreachable");
        }
        let listens = matches!(unreached, Some(Unreached::Silent(_)));
        if !listens {
            silence.end(Instant::now());
        }
        // A reported egress needs nothing more: its remaining files are being uploaded.
        if let Some(info) = egress_dir.info().filter(|_| !egress_dir.is_told()) {
            if let Some(orphan) = &orphan {
                orphan.update(info, listens);
            } else {
                log_orphan(&info, unreached.as_ref());
                orphan = Some(service.orphans.enter(info, listens));
            }
        }
        // Whoever asks for it waits no longer, and finds it among the orphans.
        drop(entry.take());
    }
}

/// Commands for a recorder as soon as it is reachable.
fn wishes(service: &Service, orphan: Option<&Orphan>) -> Vec<ToRecorder> {
    let stop = orphan.filter(|orphan| orphan.is_to_stop());
    let stop = stop.map(|_| ToRecorder::Stop { cause: Cause::Request });
    let kill = service.killed.get().map(|error| ToRecorder::Kill { error: error.clone() });
    stop.into_iter().chain(kill).collect()
}

fn log_orphan(info: &proto::EgressInfo, unreached: Option<&Unreached>) {
    let is_recording = matches!(info.status(), EgressStatus::EgressStarting | EgressStatus::EgressActive);
    match unreached {
        Some(Unreached::Silent(_)) if is_recording => {
            tracing::warn!("recorder does not answer; trying again");
        }
        Some(Unreached::Away(error)) if is_recording => {
            tracing::warn!(%error, "recorder unreachable; trying again");
        }
        Some(_) | None => tracing::info!("recorder still finishes its files"),
    }
}

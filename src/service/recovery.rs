//! Handles everything that recorders and earlier runs of the service left: running recorders, work
//! directories, unreported ends.

mod find;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use livekit_protocol as proto;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::active::ActiveEntry;
use super::registry::{Registry, is_over};
use super::{Service, start};
use crate::ipc::Lines;
use crate::ipc::egress_dir::EgressDir;
use crate::ipc::recovery::RecoveryLine;
use crate::outbound::Guard;
use crate::process::{SelfExec, SelfExecSpec, Stdin};
use crate::report::{self, LocalDirs};
use find::{Found, find};

/// How long a dead recorder's report waits for its recovery. A longer recovery continues, and the
/// report says so.
const RECOVERED_WITHIN: Duration = Duration::from_secs(8);
/// From one look at what is kept to the next.
const HOUSE_EVERY: Duration = Duration::from_mins(30);
/// Files of failed recordings are removed after this time.
const KEPT_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// More is not repeated in a report.
const MANY_FILES: usize = 8;

/// Whether a recorder came to its own end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Death {
    /// The recorder ended regularly; the files that it left are intended and reported.
    Natural,
    /// It ended as it should, and its service has not heard that: what it has written down counts.
    Unheard,
    /// Another recorder has its egress: nothing more is reported of it.
    Evicted,
    /// With the text for its report.
    Sudden(String),
}

/// Reports how a recording ended whose recorder is gone: by its own last report, or as dead, with
/// the result of its recovery. Returns when this is reported and everything is done. `info`: its
/// last report. `mark_reported` is called when the registry has it and only work on the disk
/// remains.
pub(super) async fn settle(
    registry: &dyn Registry,
    egress_dir: &EgressDir,
    info: proto::EgressInfo,
    death: Death,
    told: impl FnOnce(),
) {
    if death == Death::Evicted {
        registry.evicted(&info);
        told();
        return leave_to_other(egress_dir);
    }
    // A recorder whose service does not read any more writes it down.
    let info = egress_dir.info().filter(|written| is_newer(written, &info)).unwrap_or(info);
    let mut recovery = std::pin::pin!(recover(egress_dir));
    if is_over(&info) {
        registry.update(info);
        told();
        // What it could not store is kept, and tried again when the service starts. Only a crash at
        // the very end leaves something behind of which its report does not speak.
        if matches!(death, Death::Sudden(_)) && egress_dir.has_media() {
            let said = recovery.await;
            tracing::info!(recovery = ?said, "recovered");
        }
    } else {
        let error = match death {
            Death::Natural | Death::Unheard | Death::Evicted => {
                "the recorder ended without a last report".to_owned()
            }
            Death::Sudden(error) => error,
        };
        tracing::error!("{error}");
        let early = timeout(RECOVERED_WITHIN, &mut recovery).await;
        // The report names files, and the log their paths.
        match &early {
            Ok(recovered) => tracing::info!(recovery = ?recovered, "recovered"),
            Err(_) => {
                tracing::info!(dir = %egress_dir.work_dir().display(), "recovery continues in the background")
            }
        }
        let notes = early
            .as_ref()
            .map_or_else(|_| vec![kept(egress_dir)], |recovered| recovered.notes(egress_dir, &info));
        registry.update(report::died(info, &error, &notes, Timestamp::now()));
        told();
        if early.is_err() {
            let said = recovery.await;
            tracing::info!(recovery = ?said, "recovered");
        }
    }
    registry.delivered(egress_dir.egress_id()).await;
    close(egress_dir);
}

/// Whether what a recorder has written down is more than its service has heard.
fn is_newer(written: &proto::EgressInfo, heard: &proto::EgressInfo) -> bool {
    !is_over(heard) && (is_over(written) || written.updated_at > heard.updated_at)
}

/// Removes what is left of a recording that was announced and did not begin, when its registry has
/// its end.
pub(super) async fn clear_when_told(registry: &dyn Registry, egress_dir: &EgressDir) {
    registry.delivered(egress_dir.egress_id()).await;
    clear(egress_dir).await;
    close(egress_dir);
}

/// Removes what is left of a recording that was not begun.
pub(super) async fn clear(egress_dir: &EgressDir) {
    // It knows the directory on tmpfs, too.
    let recovered = recover(egress_dir).await;
    if recovered.is_whole && recovered.files.is_empty() && !egress_dir.has_work() {
        remove(egress_dir);
    }
}

/// Takes over everything that earlier runs of the service left: running recorders are attended from
/// now on, dead ones are recovered and reported. Each has a task of its own. Egresses that are
/// unfinished in the registry and left nothing here are ended, too. Returns the ids of all of them.
/// The listeners' topics must be set before.
///
/// # Errors
///
/// When the work directory can't be read.
pub(super) async fn take_over(service: &Arc<Service>) -> std::io::Result<Vec<String>> {
    let cells = EgressDir::all(&service.settings.work_dir)?;
    let ids: Vec<String> = cells.iter().map(|egress_dir| egress_dir.egress_id().to_owned()).collect();
    for egress_dir in cells {
        // Whoever asks for it from now on waits until it is taken over.
        let entry = egress_dir.is_occupied().then(|| service.active.entry(egress_dir.egress_id())).flatten();
        let span = tracing::info_span!("egress", egress_id = egress_dir.egress_id());
        let taking = take_over_one(Arc::clone(service), egress_dir, entry);
        service.tasks.spawn(taking.instrument(span));
    }
    let registry = &service.registry;
    match registry.unfinished().await {
        Ok(unfinished) => {
            for info in unfinished.into_iter().filter(|info| !ids.contains(&info.egress_id)) {
                tracing::warn!(egress_id = info.egress_id, "nothing is left of a recording");
                let error = "the recorder died while the service was away, and nothing is left of it";
                registry.update(report::died(info, error, &[], Timestamp::now()));
            }
        }
        Err(error) => tracing::warn!(%error, "unfinished recordings not listed"),
    }
    Ok(ids)
}

async fn take_over_one(service: Arc<Service>, egress_dir: EgressDir, entry: Option<ActiveEntry>) {
    // Nobody is at work there as long as the second is held.
    let (death, alive) = match find(&service, &egress_dir, entry).await {
        Ok(Found::Recorder(launched, entry)) => {
            return start::resume(service, *launched, egress_dir, entry).await;
        }
        Ok(Found::Left(alive)) => {
            (Death::Sudden("the recorder died while the service was away".to_owned()), Some(alive))
        }
        Ok(Found::Hung(death)) => (death, None),
        Err(error) => {
            tracing::warn!(%error, dir = %egress_dir.dir().display(), "egress not taken over");
            return;
        }
    };
    if egress_dir.is_evicted() {
        return leave_to_other(&egress_dir);
    }
    let registry = &*service.registry;
    let written = egress_dir.info();
    let known = match written {
        Some(_) => written,
        // A power cut may take it.
        None => unfinished(registry, egress_dir.egress_id()).await,
    };
    let Some(info) = known else {
        // It was never announced: the service died when it made the directory.
        let recovered = recover(&egress_dir).await;
        tracing::info!(?recovered, "recovered a recording without a report");
        return close(&egress_dir);
    };
    if !is_over(&info) {
        return settle(registry, &egress_dir, info, death, || {}).await;
    }
    if !egress_dir.is_told() {
        tracing::info!(status = info.status().as_str_name(), "ended while the service was away");
        registry.update(info.clone());
        registry.delivered(egress_dir.egress_id()).await;
    }
    tidy(&egress_dir, &info).await;
    drop(alive);
}

/// The last that a registry knows of an egress that has not ended there.
async fn unfinished(registry: &dyn Registry, egress_id: &str) -> Option<proto::EgressInfo> {
    let infos = registry.unfinished().await.unwrap_or_default();
    infos.into_iter().find(|info| info.egress_id == egress_id)
}

/// Looks every now and then at what is kept: what a store did not take it may take now.
pub(super) async fn keep_house(work_dir: PathBuf, until: CancellationToken, is_here: impl Fn(&str) -> bool) {
    let mut rounds = interval(HOUSE_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once, and then everything was just looked at.
    rounds.tick().await;
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = until.cancelled() => return,
        }
        let cells = EgressDir::all(&work_dir)
            .inspect_err(|error| tracing::warn!(%error, "kept directories unreadable"));
        let kept = cells.unwrap_or_default().into_iter();
        for egress_dir in kept.filter(|egress_dir| {
            egress_dir.is_told() && !is_here(egress_dir.egress_id()) && !egress_dir.is_worked_on()
        }) {
            if let Some(info) = egress_dir.info() {
                tidy(&egress_dir, &info).await;
            }
        }
    }
}

/// Stores what is kept, and removes what nobody looks at any more. The registry has its end.
async fn tidy(egress_dir: &EgressDir, info: &proto::EgressInfo) {
    let ended_at = Timestamp::from_nanosecond(info.ended_at.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    if has_begun(info) && egress_dir.has_media() {
        let recovered = recover(egress_dir).await;
        tracing::info!(egress_id = egress_dir.egress_id(), ?recovered, "retried upload of kept files");
    } else if Timestamp::now().duration_since(ended_at) > KEPT_FOR {
        // Screenshot and logs of a start that failed: read by now, or never.
        recover(egress_dir).await;
    }
    close(egress_dir);
}

/// Whether something was recorded. One that did not begin has files, too, and nothing in them.
fn has_begun(info: &proto::EgressInfo) -> bool {
    info.file_results.iter().any(|file| file.started_at != 0)
        || info.segment_results.iter().any(|segments| segments.started_at != 0)
        || info.image_results.iter().any(|images| images.started_at != 0)
}

/// Leaves an egress to the recorder that has it. Its files here stay until a person looks at them.
fn leave_to_other(egress_dir: &EgressDir) {
    if egress_dir.has_work() {
        tracing::warn!(dir = %egress_dir.work_dir().display(), "work directory kept; upload it with `weir recover --storage`");
    } else {
        remove(egress_dir);
    }
}

/// Removes the directory of a reported egress unless files are kept in it.
fn close(egress_dir: &EgressDir) {
    if !egress_dir.has_work() {
        remove(egress_dir);
    } else if let Err(error) = egress_dir.mark_told() {
        tracing::warn!(%error, dir = %egress_dir.dir().display(), "directory not removed, its end will be reported again");
    }
}

fn remove(egress_dir: &EgressDir) {
    if let Err(error) = egress_dir.remove() {
        tracing::warn!(%error, dir = %egress_dir.dir().display(), "directory not removed");
    }
}

/// The result of a recovery.
#[derive(Debug, Default, PartialEq, Eq)]
struct Recovered {
    is_whole: bool,
    /// Current location of each file.
    files: Vec<String>,
    /// Files that could not be finished, and are where they were.
    kept: Vec<String>,
    /// Why not.
    problems: Vec<String>,
}

impl Recovered {
    fn add(&mut self, line: RecoveryLine) {
        match line {
            RecoveryLine::Finished { location, .. } => self.files.push(location),
            RecoveryLine::Kept { path, .. } => self.kept.push(path),
            RecoveryLine::Problem { error, .. } => self.problems.push(error),
            RecoveryLine::Found { .. } | RecoveryLine::Done { .. } => {}
        }
    }

    fn notes(&self, egress_dir: &EgressDir, info: &proto::EgressInfo) -> Vec<String> {
        let named = self.files.iter().take(MANY_FILES);
        let mut notes: Vec<String> = named.map(|file| format!("recovered: {}", without_dir(file))).collect();
        if self.files.len() > MANY_FILES {
            notes.push(format!("and {} more", self.files.len() - MANY_FILES));
        }
        if !self.is_whole {
            let dirs = self.local_dirs(egress_dir, info);
            notes.extend(self.problems.iter().take(MANY_FILES).map(|problem| dirs.names_only(problem)));
            notes.push(kept(egress_dir));
        }
        notes
    }

    /// The directories that problems may name: where the files are, and where they belong.
    fn local_dirs(&self, egress_dir: &EgressDir, info: &proto::EgressInfo) -> LocalDirs {
        let files = info.file_results.iter().flat_map(|file| [&file.filename, &file.location]);
        let segments = info.segment_results.iter().map(|segments| &segments.playlist_name);
        let images = info.image_results.iter().map(|images| &images.filename_prefix);
        let paths = files.chain(segments).chain(images).chain(&self.files).chain(&self.kept);
        let dirs = paths.filter_map(|path| Path::new(local_path(path)?).parent()).map(Path::to_owned);
        LocalDirs::new(dirs.chain([egress_dir.work_dir()]))
    }
}

/// For a report. The path is logged.
fn kept(egress_dir: &EgressDir) -> String {
    format!("kept for recovery: {}", egress_dir.egress_id())
}

/// The path of a file of this machine; `None`: it is elsewhere.
fn local_path(location: &str) -> Option<&str> {
    let path = location.strip_prefix("file://").unwrap_or(location);
    path.starts_with('/').then_some(path)
}

/// The location of a file as reported: of a local path only the last component.
fn without_dir(location: &str) -> &str {
    local_path(location).and_then(|path| path.rsplit('/').next()).unwrap_or(location)
}

/// Finishes and stores what a recorder left, in a process of its own: that is media code. It goes
/// on to its end whatever happens here.
async fn recover(egress_dir: &EgressDir) -> Recovered {
    if !egress_dir.has_work() {
        return Recovered { is_whole: true, ..Recovered::default() };
    }
    let mut args = vec!["recover".into(), "--json".into(), egress_dir.work_dir().into_os_string()];
    if Guard::of_process().refuses_link_local() {
        args.push("--refuse-link-local".into());
    }
    let mut own = match SelfExec::start(SelfExecSpec { args, cwd: "/".into(), stdin: Stdin::Nothing }).await {
        Ok(own) => own,
        Err(error) => {
            tracing::error!(%error, "recovery failed");
            return Recovered::default();
        }
    };
    let mut recovered = Recovered::default();
    if let Some(stdout) = own.stdout.take() {
        let mut lines = Lines::new(stdout);
        while let Some(line) = lines.next().await {
            match line.map(|line| serde_json::from_slice(&line)) {
                Ok(Ok(line)) => recovered.add(line),
                Ok(Err(_)) | Err(_) => tracing::warn!("invalid answer of `weir recover`"),
            }
        }
    }
    recovered.is_whole = own.exit().wait().await.success();
    for (path, dir) in recovered.kept.iter().map(|path| (path, egress_dir.work_dir())) {
        tracing::warn!(path, dir = %dir.display(), "could not be finished and is kept");
    }
    recovered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_recovered_why_not_all_and_where_the_rest_is() {
        let egress_dir = EgressDir::of(Path::new("/work"), "EG_1").unwrap();
        let mut recovered = Recovered::default();
        for line in [
            r#"{"kind":"found","dir":"/work","files":2,"bytes":10}"#,
            r#"{"kind":"finished","dir":"/work","location":"/srv/my recs/team/a.mp4"}"#,
            r#"{"kind":"finished","dir":"/work","location":"file:///out/a, b/c.mp4"}"#,
            r#"{"kind":"finished","dir":"/work","location":"https://b.example/r/a.mp4"}"#,
            r#"{"kind":"kept","dir":"/work","path":"/work/0/file-0.damaged.mp4","bytes":10}"#,
            r#"{"kind":"problem","dir":"/work","error":"a.mp4: damaged"}"#,
            r#"{"kind":"problem","dir":"/work","error":"write /a room, b/d.mp4: permission denied"}"#,
            r#"{"kind":"done","dir":"/work","is_whole":false}"#,
        ] {
            recovered.add(serde_json::from_str(line).unwrap());
        }
        assert_eq!(recovered.kept, ["/work/0/file-0.damaged.mp4"]);
        let file = proto::FileInfo { filename: "/a room, b/d.mp4".to_owned(), ..Default::default() };
        let info = proto::EgressInfo { file_results: vec![file], ..Default::default() };
        let notes = [
            "recovered: a.mp4",
            "recovered: c.mp4",
            "recovered: https://b.example/r/a.mp4",
            "a.mp4: damaged",
            "write d.mp4: permission denied",
            "kept for recovery: EG_1",
        ];
        assert_eq!(recovered.notes(&egress_dir, &info), notes);
        let whole = Recovered { is_whole: true, files: vec!["/r/a, b.mp4".into()], ..Recovered::default() };
        assert_eq!(whole.notes(&egress_dir, &info), ["recovered: a, b.mp4"]);
        let told = report::died(info, "it died", &notes.map(str::to_owned), Timestamp::UNIX_EPOCH);
        assert_eq!(told.details, format!("End reason: Failure; {}", notes.join("; ")));
    }
}

//! From a request to a recorder at work (docs/reference/egress.md).

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Zoned};
use livekit_protocol as proto;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::active::ActiveEntry;
use super::admission::Permit;
use super::bus::EgressTopics;
use super::error::ServiceError;
use super::recovery::settle;
use super::registry::goes_on;
use super::supervisor::{Launched, launch};
use super::{Service, Settings, recovery};
use crate::ipc::egress_dir::EgressDir;
use crate::ipc::{Job, JobTerms};
use crate::plan::info::redacted_request;
use crate::protocol as rpc;
use crate::psrpc::Code;
use crate::report::{self, Fault, Report};

/// livekit-server asks again after ten seconds.
const CREATED_WITHIN: Duration = Duration::from_secs(9);
/// From the end of an egress that did not start to what is left of it. A registry that is away
/// takes longer, and nobody waits for it.
const CLEARED_WITHIN: Duration = Duration::from_secs(1);
/// From topics that could not be opened to the next attempt.
const OPENED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Resources that live as long as an egress.
struct Held<T> {
    /// Its topics on the bus; `None` without a bus.
    topics: T,
    permit: Permit,
    entry: ActiveEntry,
}

pub(super) async fn start(
    service: Arc<Service>,
    request: rpc::StartEgressRequest,
) -> Result<proto::EgressInfo, ServiceError> {
    let span = tracing::info_span!("egress", egress_id = request.egress_id);
    let started = begin(service, request).instrument(span.clone()).await;
    match &started {
        Ok(_) => span.in_scope(|| tracing::info!("started")),
        Err(error) => span.in_scope(|| tracing::warn!(code = %error.code, %error, "not started")),
    }
    started
}

async fn begin(
    service: Arc<Service>,
    request: rpc::StartEgressRequest,
) -> Result<proto::EgressInfo, ServiceError> {
    if !service.is_open() {
        return Err(ServiceError::shutting_down());
    }
    let settings = &service.settings;
    let egress_dir = EgressDir::of(&settings.work_dir, &request.egress_id).ok_or_else(|| {
        let help = "request has missing or invalid field: egressID: use letters, digits, _ and -";
        ServiceError::new(Code::InvalidArgument, help)
    })?;
    // A former run's egress lives here, too, as long as its files are being finished.
    let entry = service.active.entry(&request.egress_id).ok_or_else(ServiceError::egress_exists)?;
    if egress_dir.dir().exists() {
        return Err(ServiceError::egress_exists());
    }
    let job = job(settings, &egress_dir, &request);
    let info = first_report(&job)?;
    let permit = service.admission.admit(&request)?;
    let egress_id = info.egress_id.clone();
    drop(request);

    if let Some(topics) = &service.topics {
        topics.reserve(&egress_id).await?;
    }
    let begun = bring_up(&service, &job, info, egress_dir, permit, entry).await;
    if begun.is_err()
        && let Some(topics) = &service.topics
    {
        topics.release(&egress_id).await;
    }
    begun
}

/// The job for a request's recorder.
pub(super) fn job(settings: &Settings, egress_dir: &EgressDir, request: &rpc::StartEgressRequest) -> Job {
    Job::new(
        request,
        JobTerms {
            defaults: settings.defaults.clone(),
            planned_at: Zoned::now(),
            session: settings.session,
            keep_free: settings.keep_free,
            upload_patience: settings.upload_patience,
            egress_dir: egress_dir.dir().to_owned(),
            base: settings.base.clone(),
            logs: settings.logs.clone(),
            browser: settings.browser.clone(),
            video_encoder_threads: settings.video_encoder_threads,
            orphan_timeout: settings.orphan_timeout,
        },
    )
}

/// The report of an egress with which it is announced: it is starting.
pub(super) fn first_report(job: &Job) -> Result<proto::EgressInfo, ServiceError> {
    let (wanted, plan) = job.plan()?;
    Ok(Report::new(&plan, Some(redacted_request(&wanted)), Timestamp::now()).info().clone())
}

/// Makes an egress's cell, announces it, and starts its recorder.
async fn bring_up(
    service: &Arc<Service>,
    job: &Job,
    info: proto::EgressInfo,
    egress_dir: EgressDir,
    permit: Permit,
    entry: ActiveEntry,
) -> Result<proto::EgressInfo, ServiceError> {
    let made =
        |error: std::io::Error| ServiceError::internal(format!("{}: {error}", egress_dir.dir().display()));
    egress_dir.create(&info).map_err(made)?;
    let topics = async {
        match &service.topics {
            Some(topics) => topics.open(service, &info.egress_id).await.map(Some),
            None => Ok(None),
        }
    };
    let (created, topics, launched) = tokio::join!(create(service, &info), topics, launch(job, info.clone()));
    match (created, topics, launched) {
        (Ok(()), Ok(topics), Ok(launched)) => {
            entry.take(Arc::clone(&launched.handle));
            let info = launched.handle.info();
            // Said while it was on its way.
            if let Some(error) = service.killed.get() {
                launched.handle.kill(error);
            }
            permit.set_pid(launched.handle.pid());
            let held = Held { topics: std::future::ready(topics), permit, entry };
            let attending = attend(Arc::clone(service), launched, egress_dir, held);
            service.tasks.spawn(attending.in_current_span());
            Ok(info)
        }
        (created, topics, launched) => {
            let error = [created.as_ref().err(), topics.as_ref().err(), launched.as_ref().err()];
            let error = error.into_iter().flatten().next().cloned();
            let error = error.unwrap_or_else(|| ServiceError::internal("it did not start"));
            if let Ok(launched) = launched {
                launched.abort().await;
            }
            if created.is_ok() {
                let fault = fault(error.code);
                let info = report::failed(info, &error.message, fault, &[], Timestamp::now());
                // The next run of the service tells it if this one has no time left for it.
                if let Err(error) = egress_dir.write_info(&info) {
                    tracing::warn!(%error, "failed start not written to the egress's directory");
                }
                service.registry.update(info);
                let registry = Arc::clone(&service.registry);
                let clearing = async move { recovery::clear_when_told(&*registry, &egress_dir).await };
                let clearing = service.tasks.spawn(clearing.in_current_span());
                // It goes on all the same.
                timeout(CLEARED_WITHIN, clearing).await.ok();
            } else {
                recovery::clear(&egress_dir).await;
            }
            Err(error)
        }
    }
}

/// Announces an egress, within the time that its caller waits.
async fn create(service: &Service, info: &proto::EgressInfo) -> Result<(), ServiceError> {
    let created = timeout(CREATED_WITHIN, service.registry.create(info)).await;
    created.unwrap_or_else(|_| Err(ServiceError::new(Code::DeadlineExceeded, "request timed out")))
}

/// Attends a recorder that a former run of the service has started: as if it had been started now,
/// whether there is room or not.
pub(super) async fn resume(
    service: Arc<Service>,
    launched: Launched,
    egress_dir: EgressDir,
    entry: ActiveEntry,
) {
    let info = launched.handle.info();
    tracing::info!(status = info.status().as_str_name(), pid = launched.handle.pid(), "taken over");
    let permit = service.admission.readmit(&info);
    permit.set_pid(launched.handle.pid());
    entry.take(Arc::clone(&launched.handle));
    // Said while it was looked for.
    if let Some(error) = service.killed.get() {
        launched.handle.kill(error);
    }
    // The last report is sent when the recorder's end is known.
    if goes_on(&info) {
        service.registry.update(info);
    }
    let egress_id = egress_dir.egress_id().to_owned();
    let topics = open_topics(Arc::clone(&service), egress_id);
    attend(service, launched, egress_dir, Held { topics, permit, entry }).await;
}

/// Opens the topics of an egress that was taken over; `None`: it has none.
async fn open_topics(service: Arc<Service>, egress_id: String) -> Option<EgressTopics> {
    let topics = service.topics.as_ref()?;
    loop {
        match topics.open(&service, &egress_id).await {
            Ok(opened) => return Some(opened),
            Err(error) => tracing::warn!(%error, "topics of the egress not opened; trying again"),
        }
        sleep(OPENED_AGAIN_AFTER).await;
    }
}

/// Watches a recorder to its end, and tells it.
async fn attend<T: Future<Output = Option<EgressTopics>>>(
    service: Arc<Service>,
    launched: Launched,
    egress_dir: EgressDir,
    held: Held<T>,
) {
    let registry = &service.registry;
    let Held { topics, permit, entry } = held;
    let departed = {
        let watching =
            launched.attend(|info| registry.update(info.clone()), |tried| registry.uploaded(tried));
        tokio::pin!(watching, topics);
        let mut opened = None;
        loop {
            tokio::select! {
                biased;
                departed = &mut watching => break departed,
                topics = &mut topics, if opened.is_none() => opened = Some(topics),
            }
        }
    };
    // Its recorder can't be reached any more. Its capacity and its id stay taken until its end is
    // reported and counted.
    settle(&**registry, &egress_dir, departed.info, departed.death, || drop((permit, entry))).await;
}

/// Fault of a refusal, for a report.
const fn fault(code: Code) -> Fault {
    match code {
        Code::Unavailable | Code::DeadlineExceeded | Code::Canceled => Fault::Destination,
        Code::PermissionDenied => Fault::Killed,
        Code::InvalidArgument
        | Code::NotFound
        | Code::MalformedRequest
        | Code::FailedPrecondition
        | Code::AlreadyExists => Fault::User,
        _ => Fault::Service,
    }
}

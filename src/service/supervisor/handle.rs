//! A recorder that lives, as the rest of the service speaks to it.

use std::time::Duration;

use livekit_protocol as proto;
use proto::EgressStatus;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::ipc::{self, RecorderProgress, ToRecorder};
use crate::profile::Length;
use crate::psrpc::Code;
use crate::service::error::ServiceError;

/// From an order to stop to the report of it.
const ENDING_WITHIN: Duration = Duration::from_millis(2500);
/// From the end of a profile to its arrival: names are looked up in the debug information.
const PROFILED_WITHIN: Duration = Duration::from_secs(60);
/// From an update of its streams to the answer. It waits for a recording that has not begun.
const UPDATED_WITHIN: Duration = Duration::from_secs(125);

/// From the wish for its pipelines to the drawing.
const DRAWN_WITHIN: Duration = Duration::from_secs(5);
/// Deadline of a preview.
const SHOWN_WITHIN: Duration = Duration::from_secs(6);

/// Access to a running recorder.
#[derive(Debug)]
pub(in crate::service) struct Handle {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) info: watch::Receiver<proto::EgressInfo>,
    pub(super) progress: watch::Receiver<RecorderProgress>,
    pub(super) pid: i32,
}

/// Something asked of a recorder, with the way for its answer.
#[derive(Debug)]
pub(super) enum Order {
    Say(ToRecorder),
    UpdateStream { add: Vec<String>, remove: Vec<String>, answer: oneshot::Sender<Result<(), ServiceError>> },
    DumpGraph { answer: oneshot::Sender<String> },
    Picture { width: u32, answer: oneshot::Sender<Option<ipc::Picture>> },
    Profile { length: Length, answer: oneshot::Sender<Result<Vec<u8>, ServiceError>> },
}

impl Handle {
    /// Asks it to end gracefully. Gives its report when it says that it does.
    pub(in crate::service) async fn stop(&self) -> proto::EgressInfo {
        self.ask_to_stop();
        let mut info = self.info.clone();
        let is_ending = |info: &proto::EgressInfo| {
            !matches!(info.status(), EgressStatus::EgressStarting | EgressStatus::EgressActive)
        };
        drop(timeout(ENDING_WITHIN, info.wait_for(is_ending)).await);
        self.info()
    }

    /// Asks it to end gracefully.
    pub(in crate::service) fn ask_to_stop(&self) {
        // It fails when the recorder is gone, and then the report says so.
        self.orders.send(Order::Say(ToRecorder::Stop { cause: ipc::Cause::Request })).ok();
    }

    /// Has it end and finish its files, and fail with a text.
    pub(in crate::service) fn kill(&self, error: &str) {
        self.orders.send(Order::Say(ToRecorder::Kill { error: error.to_owned() })).ok();
    }

    /// Has it cost less; its report says why.
    pub(in crate::service) fn degrade(&self, why: &str) {
        self.orders.send(Order::Say(ToRecorder::Degrade { why: why.to_owned() })).ok();
    }

    /// Adds and removes addresses.
    ///
    /// # Errors
    /// What could not be done; the rest is.
    pub(in crate::service) async fn update_stream(
        &self,
        add: Vec<String>,
        remove: Vec<String>,
    ) -> Result<proto::EgressInfo, ServiceError> {
        let order = |answer| Order::UpdateStream { add, remove, answer };
        self.ask(UPDATED_WITHIN, order).await?.map(|()| self.info())
    }

    /// Its pipelines, in Graphviz's language.
    ///
    /// # Errors
    /// `not_found` when it is gone, `deadline_exceeded` when it does not answer.
    pub(in crate::service) async fn graph(&self) -> Result<String, ServiceError> {
        self.ask(DRAWN_WITHIN, |answer| Order::DumpGraph { answer }).await
    }

    /// Its current frame as a JPEG of at most this width; `None` without video.
    ///
    /// # Errors
    ///
    /// `not_found` if it is gone, `deadline_exceeded` if it does not answer.
    pub(in crate::service) async fn preview(&self, width: u32) -> Result<Option<Vec<u8>>, ServiceError> {
        let picture = self.ask(SHOWN_WITHIN, |answer| Order::Picture { width, answer }).await?;
        let picture = picture.map(|picture| picture.read()).transpose();
        picture.map_err(|_| ServiceError::internal("unreadable preview from the recorder"))
    }

    /// A CPU profile: pprof's protobuf in gzip.
    ///
    /// # Errors
    ///
    /// `not_found` if it is gone, `already_exists` while another profile is taken,
    /// `deadline_exceeded` if it does not answer.
    pub(in crate::service) async fn profile(&self, length: Length) -> Result<Vec<u8>, ServiceError> {
        let within = length.get() + PROFILED_WITHIN;
        self.ask(within, |answer| Order::Profile { length, answer }).await?
    }

    /// Gives an order and waits for its answer.
    async fn ask<T>(
        &self,
        within: Duration,
        order: impl FnOnce(oneshot::Sender<T>) -> Order,
    ) -> Result<T, ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).map_err(|_| ServiceError::egress_not_found())?;
        match timeout(within, answered).await {
            Ok(said) => said.map_err(|_| ServiceError::egress_not_found()),
            Err(_) => Err(ServiceError::new(Code::DeadlineExceeded, "the recorder does not answer")),
        }
    }

    /// Its latest report.
    pub(in crate::service) fn info(&self) -> proto::EgressInfo {
        self.info.borrow().clone()
    }

    pub(in crate::service) fn progress(&self) -> RecorderProgress {
        *self.progress.borrow()
    }

    pub(in crate::service) const fn pid(&self) -> i32 {
        self.pid
    }
}

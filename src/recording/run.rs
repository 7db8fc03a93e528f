//! Waits for whatever happens next, asks the lifecycle what to do about it, and has the driver do
//! it.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::driver::{Driver, Flushed, Input, Opening};
use super::failure::joined;
use super::lifecycle::{Action, Event};
use super::{Ended, Reporter, Setup};
use crate::control::Command;
use crate::encode::EncoderEvents;
use crate::plan::output::{OutputId, OutputPlan};
use crate::source::SourceEvent;
use crate::upload::{LaneSetup, Uploader};

/// How often the reporter hears of progress, and limits and disk are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Records to the end, and returns the result. The work directory is removed if nothing in it is
/// worth keeping.
///
/// Closing the command channel does not stop the recording.
pub async fn run(
    setup: Setup,
    mut commands: mpsc::UnboundedReceiver<Command>,
    reporter: &mut dyn Reporter,
) -> Ended {
    let (sink_events, mut from_sinks) = mpsc::unbounded_channel();
    let (source_events, mut from_source) = mpsc::unbounded_channel();
    let tasks = TaskTracker::new();
    let abandon = CancellationToken::new();
    let (uploader, mut uploads) = Uploader::start(lanes(&setup), &setup.base, &tasks, &abandon);
    let mut driver = Driver::new(setup, reporter, tasks, sink_events, uploader, abandon);
    let mut starting = JoinSet::new();
    let mut encoder_events = EncoderEvents::new();
    let mut commands_open = true;
    let mut opening: Option<Opening> = None;
    let mut draining: Option<BoxFuture<'static, Flushed>> = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    let mut actions = VecDeque::from(match driver.prepare(&mut starting, source_events) {
        Ok(()) => Vec::new(),
        Err(failure) => driver.handle(Event::EncoderFailed(failure)),
    });
    loop {
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Begin => actions.extend(driver.begin()),
                Action::Drain => draining = Some(driver.drain(std::mem::take(&mut encoder_events))),
                Action::Store => driver.close_uploader(),
                Action::Finish => {
                    starting.shutdown().await;
                    give_up(opening).await;
                    return driver.finish().await;
                }
            }
        }
        if let Some(events) = driver.take_encoder_events() {
            encoder_events = events;
        }
        if let Some(begun) = driver.take_opening() {
            opening = Some(begun);
        }
        let input = tokio::select! {
            biased;
            command = commands.recv(), if commands_open => Input::Command(command),
            // What a sink says that is open already is for the recording that has it.
            Some(event) = from_sinks.recv(), if opening.is_none() => Input::Sink(event),
            Some(started) = starting.join_next() => Input::SourceStarted(joined(started)),
            Some(opened) = OptionFuture::from(opening.as_mut().map(Opening::opened)) => {
                opening = None;
                Input::Opened(opened)
            }
            Some(event) = from_source.recv() => Input::Source(event),
            Some(event) = encoder_events.next() => Input::Encoder(event),
            Some(emptied) = OptionFuture::from(draining.as_mut()) => {
                draining = None;
                Input::Drained(emptied)
            }
            event = uploads.recv(), if driver.awaits_uploads => match event {
                Some(event) => Input::Uploaded(event),
                // What was stored is known now, and so what the manifests say.
                None => match driver.upload_manifests().await {
                    Some(manifests) => {
                        uploads = manifests;
                        continue;
                    }
                    None => Input::EverythingStored,
                },
            },
            () = driver.duration_reached() => Input::DurationReached,
            () = driver.session_over() => Input::SessionOver,
            _ = ticks.tick() => Input::Tick,
        };
        actions.extend(match input {
            Input::Command(None) => {
                commands_open = false;
                Vec::new()
            }
            Input::Command(Some(Command::Abandon)) => {
                starting.abort_all();
                give_up(opening).await;
                return driver.abandon().await;
            }
            Input::Source(SourceEvent::Evicted) => {
                starting.abort_all();
                give_up(opening).await;
                return driver.end_evicted().await;
            }
            Input::Drained(emptied) => {
                // What the sinks said while they finished comes first: their last artifacts.
                let mut then = Vec::new();
                while let Ok(event) = from_sinks.try_recv() {
                    then.extend(driver.on_sink(event));
                }
                then.extend(driver.take(Input::Drained(emptied)));
                then
            }
            input => driver.take(input),
        });
    }
}

/// Outputs that are still being opened are not wanted any more.
async fn give_up(opening: Option<Opening>) {
    if let Some(opening) = opening {
        opening.give_up().await;
    }
}

/// A lane for each output that keeps something.
fn lanes(setup: &Setup) -> Vec<LaneSetup> {
    let lane = |(at, output): (usize, &OutputPlan)| {
        let output_id = OutputId(at);
        let storage = output.storage()?.clone();
        let dir = setup.work.output(output_id);
        Some(LaneSetup { output: output_id, storage, dir, patience: setup.upload_patience })
    };
    setup.plan.outputs.iter().enumerate().filter_map(lane).collect()
}

//! One address: dialled, kept up, dialled again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{self, Message};

use super::dial::{DialError, Socket, dial};
use super::queue::Queue;
use crate::outbound::Guard;
use crate::plan::output::OutputId;
use crate::plan::stream_url::StreamUrl;
use crate::sink::{SinkEvent, StreamEvent};

/// How long a websocket waits for what. Tests give shorter ones; everything else takes
/// [`Timing::DEFAULT`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// From the first packet to an open websocket.
    pub(super) connect: Duration,
    /// A message that the network does not take for so long never arrives.
    pub(super) send: Duration,
    /// Waited before the first new attempt; doubled for each further one.
    pub(super) first_wait: Duration,
    pub(super) longest_wait: Duration,
    /// A connection that lasted so long worked: the next wait is short again.
    pub(super) settle: Duration,
    pub(super) ping: Duration,
    /// Sound that waits for the network, at most.
    pub(super) queue: Duration,
    /// At the end: to send what is queued.
    pub(super) drain: Duration,
    /// At the end: for the server's own goodbye.
    pub(super) goodbye: Duration,
}

impl Timing {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(10),
        send: Duration::from_secs(10),
        first_wait: Duration::from_millis(250),
        longest_wait: Duration::from_secs(5),
        settle: Duration::from_secs(5),
        ping: Duration::from_secs(30),
        queue: Duration::from_secs(5),
        drain: Duration::from_secs(10),
        goodbye: Duration::from_secs(2),
    };
}

/// Why a connection is no more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server closed the connection{0}")]
    Closed(String),
    #[error("the connection broke: {0}")]
    Broken(Box<tungstenite::Error>),
    #[error("the server takes nothing any more")]
    Stalled,
    #[error("the recording ended before the server could be reached")]
    TooLate,
}

impl From<tungstenite::Error> for Lost {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed(String::new())
            }
            error => Self::Broken(Box::new(error)),
        }
    }
}

/// One address and what goes there.
pub(super) struct Connection {
    pub(super) output: OutputId,
    pub(super) url: StreamUrl,
    pub(super) queue: Arc<Queue>,
    pub(super) muted: watch::Receiver<bool>,
    /// When all must be sent; `None` while the recording goes on.
    pub(super) deadline: watch::Receiver<Option<Instant>>,
    pub(super) events: mpsc::UnboundedSender<SinkEvent>,
    pub(super) timing: Timing,
    /// Nothing is sent any more: so when the last event comes.
    pub(super) is_over: Arc<AtomicBool>,
}

impl Connection {
    /// Sends until the feed has ended and all is sent, or the deadline is over.
    pub(super) async fn run(mut self) {
        let mut retries = 0;
        let mut has_worked = false;
        let mut wait = self.timing.first_wait;
        self.tell(StreamEvent::Connecting { url: self.url.clone() });
        loop {
            // There is one more attempt after the recording is over.
            let is_last = self.deadline.borrow().is_some();
            let dialled = tokio::select! {
                dialled = dial(Guard::of_process(), &self.url, self.timing.connect) => dialled.map_err(Lost::from),
                () = late(self.deadline.clone()) => Err(Lost::TooLate),
            };
            let lost = match dialled {
                Ok(socket) => {
                    has_worked = true;
                    self.tell(StreamEvent::Started { url: self.url.clone() });
                    let since = Instant::now();
                    match self.send(socket).await {
                        Ok(()) => return self.finished(),
                        Err(lost) => {
                            if since.elapsed() >= self.timing.settle {
                                wait = self.timing.first_wait;
                            }
                            lost
                        }
                    }
                }
                Err(lost) => lost,
            };
            // An unreachable server at the start is an error of the request, not of the network.
            if !has_worked || is_last || self.is_late() {
                return self.failed(&lost);
            }
            retries += 1;
            tracing::warn!(url = %self.url, retries, %lost, "a websocket is dialled again");
            let error = lost.to_string();
            self.tell(StreamEvent::Retrying { url: self.url.clone(), retries, error });
            // Many recorders that lost one server come back one after the other.
            let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
            wait = (wait * 2).min(self.timing.longest_wait);
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = over(self.deadline.clone()) => {}
            }
        }
    }

    /// Whether the recording is over, and so is the time to send what is left of it.
    fn is_late(&self) -> bool {
        self.deadline.borrow().is_some_and(|by| Instant::now() >= by)
    }

    async fn send(&mut self, mut socket: Socket) -> Result<(), Lost> {
        let mut pings = tokio::time::interval_at(Instant::now() + self.timing.ping, self.timing.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if *self.muted.borrow_and_update() {
            self.put(&mut socket, muted_message(true)).await?;
        }
        loop {
            let message = tokio::select! {
                message = self.queue.next() => match message {
                    Some(sound) => Message::Binary(sound),
                    None => return self.close(socket).await,
                },
                Ok(()) = self.muted.changed() => muted_message(*self.muted.borrow_and_update()),
                _ = pings.tick() => Message::Ping(Bytes::from_static(b"ping")),
                heard = socket.next() => {
                    hear(heard)?;
                    continue;
                }
                () = late(self.deadline.clone()) => return Err(Lost::Stalled),
            };
            self.put(&mut socket, message).await?;
        }
    }

    async fn put(&self, socket: &mut Socket, message: Message) -> Result<(), Lost> {
        tokio::select! {
            sent = tokio::time::timeout(self.timing.send, socket.send(message)) => match sent {
                Ok(sent) => Ok(sent?),
                Err(_) => Err(Lost::Stalled),
            },
            () = late(self.deadline.clone()) => Err(Lost::Stalled),
        }
    }

    /// Everything is sent: says goodbye, and waits for the server's.
    async fn close(&self, mut socket: Socket) -> Result<(), Lost> {
        let goodbye = async {
            socket.close(None).await?;
            while let Some(heard) = socket.next().await {
                heard?;
            }
            Ok::<(), tungstenite::Error>(())
        };
        match tokio::time::timeout(self.timing.goodbye, goodbye).await {
            Ok(Ok(()) | Err(tungstenite::Error::ConnectionClosed)) => {}
            // All that was recorded is with the server.
            Ok(Err(error)) => tracing::debug!(url = %self.url, %error, "a websocket did not end well"),
            Err(_) => tracing::debug!(url = %self.url, "a websocket's server says no goodbye"),
        }
        Ok(())
    }

    fn finished(&self) {
        self.tell_dropped();
        self.is_over.store(true, Ordering::Release);
        self.tell(StreamEvent::Finished { url: self.url.clone(), missing: None });
    }

    fn failed(&self, lost: &Lost) {
        self.tell_dropped();
        self.is_over.store(true, Ordering::Release);
        let error = format!("websocket {}: {lost}", self.url);
        tracing::warn!(error, "a websocket is given up");
        self.tell(StreamEvent::Failed { url: self.url.clone(), error });
    }

    fn tell_dropped(&self) {
        let dropped = self.queue.dropped();
        if !dropped.is_zero() {
            tracing::warn!(url = %self.url, seconds = dropped.as_secs_f64(), "sound that did not get to a websocket");
        }
    }

    fn tell(&self, event: StreamEvent) {
        if self.events.send(SinkEvent::Stream(self.output, event)).is_err() {
            tracing::debug!("nobody listens to a websocket any more");
        }
    }
}

fn muted_message(is_muted: bool) -> Message {
    Message::text(format!("{{\"muted\":{is_muted}}}"))
}

/// Messages of a server are ignored unless it closes; the socket itself answers pings.
fn hear(heard: Option<Result<Message, tungstenite::Error>>) -> Result<(), Lost> {
    match heard {
        None => Err(Lost::Closed(String::new())),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(Message::Close(frame))) => {
            Err(Lost::Closed(frame.map_or_else(String::new, |frame| format!(" ({})", u16::from(frame.code)))))
        }
        Some(Ok(_)) => Ok(()),
    }
}

/// The moment at which the recording is over; never, once the sink is gone.
async fn over(mut deadline: watch::Receiver<Option<Instant>>) {
    if deadline.wait_for(Option::is_some).await.is_err() {
        std::future::pending().await
    }
}

/// The moment at which all must be sent.
async fn late(mut deadline: watch::Receiver<Option<Instant>>) {
    let by = deadline.wait_for(Option::is_some).await.ok().and_then(|by| *by);
    match by {
        Some(by) => tokio::time::sleep_until(by).await,
        None => std::future::pending().await,
    }
}

//! A bus in memory with servers and clients on it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::psrpc::envelope::{Envelope, Request};
use crate::psrpc::*;

pub(super) static START: Method = Method::claimed("StartEgress");
pub(super) static LIST: Method = Method::broadcast("ListActiveEgress");
pub(super) const SERVICE: &str = "EgressInternal";
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) const AFFINITY: CallOptions =
    CallOptions { timeout: Duration::from_secs(3), selection: SelectionRules::BY_AFFINITY };

/// Claims with the given affinity, and answers with its name.
pub(super) struct Named(pub(super) &'static str, pub(super) Offer);

#[async_trait]
impl Handler for Named {
    fn offer(&self, request: &Bytes) -> Result<Offer, Error> {
        if request[..] == *b"garbage" {
            return Err(Error::new(Code::MalformedRequest, "can't read it"));
        }
        Ok(self.1)
    }

    async fn answer(&self, call: Call) -> Result<Bytes, Error> {
        match &call.request[..] {
            b"fail" => Err(Error::new(Code::NotFound, "egress not found")),
            b"panic" => panic!("asked to"),
            b"hang" => std::future::pending().await,
            _ => Ok(self.0.into()),
        }
    }
}

pub(super) struct House {
    pub(super) bus: MemoryBus,
    pub(super) tasks: TaskTracker,
}

impl House {
    pub(super) fn new() -> Self {
        Self { bus: MemoryBus::new(), tasks: TaskTracker::new() }
    }

    pub(super) fn server(&self) -> Server {
        self.server_with(ServerOptions::default())
    }

    pub(super) fn server_with(&self, options: ServerOptions) -> Server {
        Server::new(Arc::new(self.bus.clone()), SERVICE, &self.tasks, options)
    }

    pub(super) fn client(&self) -> Client {
        Client::new(Arc::new(self.bus.clone()), SERVICE, &self.tasks)
    }

    pub(super) async fn serves(&self, method: &Method, handler: impl Handler) -> (Server, Registration) {
        let server = self.server();
        let registration = server.register(method.clone(), handler).await.unwrap();
        (server, registration)
    }

    /// Everything that was started has ended.
    pub(super) async fn empties(self) {
        self.tasks.close();
        timeout(SOON, self.tasks.wait()).await.expect("no task is left");
    }
}

/// Waits for what no event tells of; lets all other tasks run meanwhile.
pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, wait).await.expect("it becomes so");
}

pub(super) fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A request as another program would send it.
pub(super) async fn send(house: &House, request: Request) {
    house.bus.publish("EgressInternal|StartEgress|REQ", Envelope::Request(request).encode()).await.unwrap();
}

pub(super) fn request(expiry: i64) -> Request {
    Request {
        request_id: "REQ_1".into(),
        client_id: "CLI_1".into(),
        sent_at: 1,
        expiry,
        raw_request: bytes("x"),
        ..Request::default()
    }
}

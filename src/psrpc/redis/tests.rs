//! Real Redis servers: one, with passwords, with TLS, with sentinels, as a cluster; killed,
//! stopped, and brought back.

mod real_time;
mod servers;
mod with_processes;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::*;
use crate::ports;
use crate::psrpc::{
    Call, CallOptions, Client, Error, Handler, MessageBus, Method, Offer, Registration, SelectionRules,
    Server, ServerOptions,
};
use crate::secret::Secret;
use servers::{Authority, CLUSTERED, RedisServer, Sentinel, cluster};

const SOON: Duration = Duration::from_secs(60);
const OPTIONS: CallOptions =
    CallOptions { timeout: Duration::from_secs(60), selection: SelectionRules::BY_AFFINITY };

struct Echo;

#[async_trait]
impl Handler for Echo {
    fn offer(&self, _: &Bytes) -> Result<Offer, Error> {
        Ok(Offer::Affinity(1.0))
    }

    async fn answer(&self, call: Call) -> Result<Bytes, Error> {
        Ok(call.request)
    }
}

async fn connect(options: RedisOptions) -> RedisBus {
    RedisBus::connect(options, &TaskTracker::new()).await.unwrap()
}

fn stop() -> Method {
    Method::queued("StopEgress").on("EG_é|1")
}

/// A server and a client with a bus each, as they are in two processes.
struct Pair {
    server: Server,
    _registration: Registration,
    client: Client,
    tasks: TaskTracker,
    serving: Arc<RedisBus>,
    calling: Arc<RedisBus>,
}

impl Pair {
    async fn new(options: &RedisOptions) -> Self {
        let tasks = TaskTracker::new();
        let serving = Arc::new(RedisBus::connect(options.clone(), &tasks).await.unwrap());
        let calling = Arc::new(RedisBus::connect(options.clone(), &tasks).await.unwrap());
        let server =
            Server::new(Arc::<RedisBus>::clone(&serving), "EgressHandler", &tasks, ServerOptions::default());
        let registration = server.register(stop(), Echo).await.unwrap();
        let client = Client::new(Arc::<RedisBus>::clone(&calling), "EgressHandler", &tasks);
        Self { server, _registration: registration, client, tasks, serving, calling }
    }

    async fn works(&self) {
        for size in [0, 1, 100_000] {
            let request = Bytes::from(vec![b'\n'; size]);
            assert_eq!(self.client.call(&stop(), request.clone(), OPTIONS).await, Ok(request));
        }
    }

    /// Calls until one is answered: the connections are back.
    async fn works_again(&self) {
        let patience = Instant::now() + SOON;
        let options = CallOptions { timeout: Duration::from_secs(1), ..OPTIONS };
        while let Err(error) = self.client.call(&stop(), Bytes::from_static(b"again"), options).await {
            assert!(error.is_passing(), "{error:?}");
            assert!(Instant::now() < patience, "{error}");
        }
        self.works().await;
    }

    /// Both buses are without a connection.
    async fn is_cut(&self) {
        for bus in [&self.serving, &self.calling] {
            let mut link = bus.link();
            timeout(SOON, link.wait_for(|link| *link == LinkState::Down)).await.expect("it notices").unwrap();
        }
    }
}

//! A proxy between a participant and a LiveKit server's signalling: cuts the websocket, and sends
//! messages in either's name.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use futures::{SinkExt, StreamExt};
use livekit_protocol as proto;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// A command for the open websockets.
#[derive(Debug, Clone)]
enum Order {
    Cut,
    /// Sends a message to the server.
    Say(Vec<u8>),
    /// Sends a message to the participant.
    Tell(Vec<u8>),
    End,
}

/// Listens on loopback until dropped.
#[derive(Debug)]
pub(crate) struct SignalProxy {
    addr: SocketAddr,
    orders: broadcast::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl SignalProxy {
    /// `server`: `ws://127.0.0.1:…`
    pub(crate) fn start(server: String) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (orders, mut ordered) = broadcast::channel(16);
        let sender = orders.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let mut open = tokio::task::JoinSet::new();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (server, orders) = (server.clone(), sender.subscribe());
                            open.spawn(pass_on(accepted.unwrap().0, server, orders));
                        }
                        order = ordered.recv() => if matches!(order, Ok(Order::End) | Err(_)) { return },
                    }
                }
            });
        });
        Self { addr, orders, thread: Some(thread) }
    }

    pub(crate) fn ws_url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Cuts open connections; accepts new ones.
    pub(crate) fn cut(&self) {
        self.orders.send(Order::Cut).unwrap();
    }

    /// Lets the server simulate a failure.
    pub(crate) fn simulate(&self, scenario: proto::simulate_scenario::Scenario) {
        let simulate = proto::SimulateScenario { scenario: Some(scenario) };
        let request =
            proto::SignalRequest { message: Some(proto::signal_request::Message::Simulate(simulate)) };
        self.orders.send(Order::Say(request.encode_to_vec())).unwrap();
    }

    /// Sends the participant a message in the server's name.
    pub(crate) fn tell(&self, message: proto::signal_response::Message) {
        let response = proto::SignalResponse { message: Some(message) };
        self.orders.send(Order::Tell(response.encode_to_vec())).unwrap();
    }
}

impl Drop for SignalProxy {
    fn drop(&mut self) {
        drop(self.orders.send(Order::End));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Accepts a participant's websocket, and opens one to the server for the same request; `None` if
/// either fails.
pub(super) async fn both_sides(
    stream: TcpStream,
    server: &str,
) -> Option<(WebSocketStream<TcpStream>, WebSocketStream<MaybeTlsStream<TcpStream>>)> {
    let mut asked = None;
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let remember = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        // A browser's token is in the address.
        asked = Some((request.uri().to_string(), request.headers().get("authorization").cloned()));
        Ok(response)
    };
    let client = tokio_tungstenite::accept_hdr_async(stream, remember).await.ok()?;
    let (path, token) = asked.expect("a handshake was made");
    let mut request = format!("{server}{path}").into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("Authorization", token);
    }
    let (server, _) = tokio_tungstenite::connect_async(request).await.ok()?;
    Some((client, server))
}

async fn pass_on(stream: TcpStream, server: String, mut orders: broadcast::Receiver<Order>) {
    let Some((mut client, mut server)) = both_sides(stream, &server).await else { return };
    loop {
        tokio::select! {
            message = client.next() => match message {
                Some(Ok(message)) => if server.send(message).await.is_err() { return },
                Some(Err(_)) | None => return,
            },
            message = server.next() => match message {
                Some(Ok(message)) => if client.send(message).await.is_err() { return },
                Some(Err(_)) | None => return,
            },
            order = orders.recv() => match order {
                Ok(Order::Say(bytes)) => server.send(Message::Binary(bytes.into())).await.unwrap(),
                Ok(Order::Tell(bytes)) => client.send(Message::Binary(bytes.into())).await.unwrap(),
                Ok(Order::Cut | Order::End) | Err(_) => return,
            },
        }
    }
}

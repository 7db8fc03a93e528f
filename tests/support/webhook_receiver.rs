//! Receives webhooks on loopback, and keeps them.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::http1::Head;

/// Accepts every webhook until dropped. Signatures are not checked.
#[derive(Debug)]
pub(crate) struct WebhookReceiver {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Vec<Value>,
    is_over: bool,
}

impl WebhookReceiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        thread::spawn({
            let shared = shared.clone();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if shared.lock().unwrap().is_over {
                        break;
                    }
                    let shared = shared.clone();
                    // A sender that disconnects in the middle does not matter.
                    thread::spawn(move || take(&stream, &shared).ok());
                }
            }
        });
        Self { addr, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// The events of an egress so far, in order of arrival: the event's name with the `EgressInfo`.
    pub(crate) fn of_egress(&self, egress_id: &str) -> Vec<(String, Value)> {
        let shared = self.shared.lock().unwrap();
        let of_it = shared.events.iter().filter(|event| event["egressInfo"]["egressId"] == egress_id);
        of_it
            .map(|event| {
                (event["event"].as_str().unwrap_or_default().to_owned(), event["egressInfo"].clone())
            })
            .collect()
    }
}

impl Drop for WebhookReceiver {
    fn drop(&mut self) {
        self.shared.lock().unwrap().is_over = true;
        // The listener waits for a connection.
        drop(TcpStream::connect(self.addr));
    }
}

/// Reads all requests of one connection.
fn take(stream: &TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    while let Some(head) = Head::read(&mut from)? {
        let mut body = Vec::new();
        head.body().read(
            &mut from,
            || 64 << 10,
            |piece| {
                body.extend_from_slice(piece);
                Ok(())
            },
        )?;
        let event = serde_json::from_slice(&body)?;
        shared.lock().unwrap().events.push(event);
        let mut to = stream;
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

//! Our own layouts' pages, served to the browser of one recording.

use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use url::Url;

/// A server on the loopback interface; gone when dropped. What it serves is the same for everybody and has nothing secret.
#[derive(Debug)]
pub(super) struct Templates {
    url: Url,
    _server: AbortOnDropHandle<()>,
}

impl Templates {
    pub(super) async fn serve() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        // A page from here is as trustworthy to the browser as one over TLS, by this name or its number.
        let url = format!("http://localhost:{port}/");
        let url = Url::parse(&url).map_err(io::Error::other)?;
        let serve = async move {
            if let Err(error) = axum::serve(listener, pages()).await {
                tracing::warn!(%error, "the layouts are not served any more");
            }
        };
        Ok(Self { url, _server: AbortOnDropHandle::new(TaskTracker::new().spawn(serve)) })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

fn pages() -> Router {
    Router::new()
}

//! Our own layouts' pages, served to the browser of one recording.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{StatusCode, Uri};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use url::Url;

use crate::http_listener::{self, Bounds};
use crate::pages;

/// A browser opens six to one host.
const CONNECTIONS: usize = 64;
/// A browser opens some connections ahead of need.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// A server on the loopback interface; stopped when dropped. Its content is the same for everybody
/// and not secret.
#[derive(Debug)]
pub(super) struct Templates {
    url: Url,
    _server: AbortOnDropHandle<()>,
}

impl Templates {
    pub(super) async fn serve() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        // A page from here is as trustworthy to the browser as one over TLS, by this name or its
        // number.
        let url = format!("http://localhost:{port}/");
        let url = Url::parse(&url).map_err(io::Error::other)?;
        // Every process of the machine can connect.
        let bounds = Bounds { connections: CONNECTIONS, head_within: HEAD_WITHIN };
        let serve = http_listener::serve("templates", listener, router(), bounds, CancellationToken::new());
        Ok(Self { url, _server: AbortOnDropHandle::new(TaskTracker::new().spawn(serve)) })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

fn router() -> Router {
    Router::new().fallback(async |uri: Uri| answer(uri.path()))
}

fn answer(path: &str) -> Response {
    match pages::layout().lookup(path) {
        Some(file) => {
            let headers = [(CONTENT_TYPE, file.content_type), (CACHE_CONTROL, file.cache_control)];
            (headers, file.bytes.into_owned()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

//! How much of requests' bodies has gone out: tells a slow upload from a storage that takes
//! nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

const PIECE: usize = 64 * 1024;
/// Buffers on the way take so much of a body also where the server reads nothing, and they do so
/// again at each attempt.
const BUFFERED: u64 = 1024 * 1024;

/// Counts what a store's requests move; it only grows.
#[derive(Debug, Clone, Default)]
pub(super) struct BytesSent(Arc<AtomicU64>);

impl BytesSent {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A request has succeeded.
    pub(super) fn on_answer(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A body whose bytes are counted as they go out.
    pub(super) fn counted<B>(&self, body: B) -> Counted<B> {
        Counted { body: Box::pin(body), moved: self.clone(), gone: 0 }
    }

    /// The same of bytes.
    pub(super) fn body(&self, bytes: Bytes) -> reqwest::Body {
        // What fits into the buffers is not counted anyway.
        if bytes.len() as u64 <= BUFFERED {
            return reqwest::Body::from(bytes);
        }
        reqwest::Body::wrap(self.counted(Pieces(bytes)))
    }
}

/// See [`BytesSent::counted`].
#[derive(Debug)]
pub(super) struct Counted<B> {
    body: Pin<Box<B>>,
    moved: BytesSent,
    gone: u64,
}

impl<B: Body<Data = Bytes>> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.body.as_mut().poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.gone += data.len() as u64;
            if self.gone > BUFFERED {
                self.moved.0.fetch_add(data.len() as u64, Ordering::Relaxed);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes that go out in pieces.
#[derive(Debug)]
struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.0.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.0.split_to(len)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_buffers_may_hold_does_not_count_as_moved() {
        let moved = BytesSent::default();
        let bytes = vec![7; 3 * 1024 * 1024];
        let mut body = Box::pin(moved.counted(Pieces(bytes.clone().into())));
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let (mut got, mut at_buffered) = (Vec::new(), None);
        while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            got.extend_from_slice(&frame.unwrap().into_data().unwrap());
            if got.len() as u64 == BUFFERED {
                at_buffered = Some(moved.bytes());
            }
        }
        assert_eq!((got, at_buffered, moved.bytes()), (bytes, Some(0), 2 * 1024 * 1024));
    }
}

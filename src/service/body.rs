//! Reads what was sent with a request: so much of it, within so long.

use std::time::Duration;

use axum::body::{Body, Bytes};

/// From a request's head to the end of its body. A few kilobytes take no second on any line.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// All of a body of at most `most` bytes.
///
/// # Errors
/// A text for the caller: it is larger, breaks off, or takes too long.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, String> {
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(format!("the request can't be read, or is larger than {most} bytes")),
        Err(_) => Err(format!(
            "the request's body did not arrive within {} s; send it again",
            BODY_WITHIN.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, stream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_size_and_a_time() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert!(read(Body::from("12345"), 4).await.unwrap_err().contains("larger than 4 bytes"));
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from("1"))]);
        let error = read(Body::from_stream(first.chain(stream::pending())), 5).await.unwrap_err();
        assert!(error.contains("within 10 s"), "{error}");
    }
}

//! Implementation of a method.

use std::fmt;
use std::marker::PhantomData;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use crate::psrpc::claim::Offer;
use crate::psrpc::error::Error;

/// Answers the calls of one method.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Whether to claim the call, and with which affinity. Must not wait or reserve anything: most
    /// claims are not chosen.
    ///
    /// # Errors
    ///
    /// For an unreadable request; the caller gets the error.
    fn offer(&self, request: &Bytes) -> Result<Offer, Error>;

    /// Executes the call and returns the answer's bytes.
    ///
    /// # Errors
    ///
    /// Sent to the caller.
    async fn answer(&self, call: Call) -> Result<Bytes, Error>;
}

/// A call that is ours to carry out.
#[derive(Debug, Clone)]
pub struct Call {
    /// The application's message.
    pub request: Bytes,
    /// When the caller stops waiting. A handler that takes longer is not interrupted: what it does
    /// may be wanted all the same, only its answer is not.
    pub deadline: Instant,
}

/// A handler out of two functions over messages. Requests that can't be read are answered by
/// themselves.
pub fn typed<Q, R, O, A, F>(offer: O, answer: A) -> impl Handler
where
    Q: Message + Default + 'static,
    R: Message + 'static,
    O: Fn(&Q) -> Offer + Send + Sync + 'static,
    A: Fn(Q, Instant) -> F + Send + Sync + 'static,
    F: Future<Output = Result<R, Error>> + Send + 'static,
{
    Typed { offer, answer, messages: PhantomData }
}

struct Typed<Q, R, O, A> {
    offer: O,
    answer: A,
    messages: PhantomData<fn(Q) -> R>,
}

impl<Q, R, O, A> fmt::Debug for Typed<Q, R, O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").finish_non_exhaustive()
    }
}

fn read<Q: Message + Default>(request: &Bytes) -> Result<Q, Error> {
    Q::decode(request.clone()).map_err(|error| Error::malformed(&error))
}

#[async_trait]
impl<Q, R, O, A, F> Handler for Typed<Q, R, O, A>
where
    Q: Message + Default + 'static,
    R: Message + 'static,
    O: Fn(&Q) -> Offer + Send + Sync + 'static,
    A: Fn(Q, Instant) -> F + Send + Sync + 'static,
    F: Future<Output = Result<R, Error>> + Send + 'static,
{
    fn offer(&self, request: &Bytes) -> Result<Offer, Error> {
        read(request).map(|request| (self.offer)(&request))
    }

    async fn answer(&self, call: Call) -> Result<Bytes, Error> {
        let answer = (self.answer)(read(&call.request)?, call.deadline).await?;
        Ok(answer.encode_to_vec().into())
    }
}

//! One policy for every request to every store: how long it may take, whether it is made again, and
//! when.

use std::future::Future;
use std::time::Duration;

use rand::Rng;

use super::error::{StoreError, StoreErrorKind};
use crate::plan::storage::RetryPolicy;

/// How long a request may take. A server that stalls, or takes a kilobyte a second, would otherwise
/// hold a recording's end up for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// For a request without a body.
    pub(super) grace: Duration,
    /// A body may take its size at this rate on top; at least 1.
    pub(super) floor_bytes_per_second: u64,
}

/// How often a peer may be too slow for one request.
const SLOW_ATTEMPTS: u32 = 2;

impl Default for Patience {
    fn default() -> Self {
        Self { grace: Duration::from_secs(30), floor_bytes_per_second: 32 * 1024 }
    }
}

impl Patience {
    /// How long a request with a body of `bytes` may take.
    pub(super) fn deadline(self, bytes: u64) -> Duration {
        self.grace + Duration::from_millis(bytes.saturating_mul(1000) / self.floor_bytes_per_second.max(1))
    }
}

/// How long to wait before attempt `attempt + 1` when attempt `targets` (from 1) failed; `chance`
/// is in 0..1.
pub(super) fn back_off(policy: &RetryPolicy, attempt: u32, chance: f64) -> Duration {
    let doubled = policy.min_delay.saturating_mul(1 << attempt.saturating_sub(1).min(20));
    let whole = doubled.min(policy.max_delay.max(policy.min_delay));
    whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

/// Retries and patience of one store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Persistence {
    pub(super) policy: RetryPolicy,
    pub(super) patience: Patience,
}

impl Persistence {
    /// Makes one request of a body of `bytes` until it succeeds, is refused, or was tried often
    /// enough. `request` gets the number of the attempt, from 1.
    pub(super) async fn request<T, F, R>(&self, bytes: u64, mut request: R) -> Result<T, StoreError>
    where
        R: FnMut(u32) -> F + Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let mut attempt = 1;
        loop {
            let error = match self.within(bytes, request(attempt)).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.kind().is_passing() {
                return Err(error);
            }
            // Each takes minutes for a large part, and the backup waits meanwhile.
            let most = match error.kind() {
                StoreErrorKind::TooSlow => self.policy.attempts.min(SLOW_ATTEMPTS),
                _ => self.policy.attempts,
            };
            if attempt >= most {
                return Err(match attempt {
                    1 => error,
                    _ => error.and(&format!("; tried {attempt} times")),
                });
            }
            let delay = back_off(&self.policy, attempt, rand::rng().random());
            tracing::debug!(%error, attempt, delay_ms = delay.as_millis(), "a request to a store is made again");
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// One attempt, within its deadline.
    pub(super) async fn within<T>(
        &self,
        bytes: u64,
        attempt: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let deadline = self.patience.deadline(bytes);
        tokio::time::timeout(deadline, attempt).await.unwrap_or_else(|_| {
            let text = format!("no answer to a request of {bytes} bytes within {deadline:.1?}");
            Err(StoreError::new(StoreErrorKind::TooSlow, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy { attempts, min_delay: Duration::from_millis(100), max_delay: Duration::from_secs(5) }
    }

    #[test]
    fn waits_double_up_to_the_most_and_half_of_it_is_chance() {
        let whole: Vec<_> = (1..=8).map(|attempt| back_off(&policy(9), attempt, 1.0).as_millis()).collect();
        assert_eq!(whole, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let least: Vec<_> = (1..=3).map(|attempt| back_off(&policy(9), attempt, 0.0).as_millis()).collect();
        assert_eq!(least, [50, 100, 200]);
        assert_eq!(back_off(&policy(9), u32::MAX, 1.0).as_millis(), 5000);
        let upside_down = RetryPolicy { max_delay: Duration::ZERO, ..policy(9) };
        assert_eq!(back_off(&upside_down, 4, 1.0).as_millis(), 100);
    }

    #[test]
    fn patience_goes_by_size() {
        let patience = Patience::default();
        assert_eq!(patience.deadline(0).as_secs(), 30);
        assert_eq!(patience.deadline(32 * 1024 * 60).as_secs(), 90);
        assert!(patience.deadline(u64::MAX) > Duration::from_secs(1 << 30));
    }

    async fn attempts_until(kind: StoreErrorKind, succeeds_at: u32) -> (u32, Result<(), StoreError>) {
        let made = AtomicU32::new(0);
        let persistence = Persistence { policy: policy(4), patience: Patience::default() };
        let result = persistence
            .request(0, |attempt| {
                made.store(attempt, Ordering::Relaxed);
                async move { if attempt >= succeeds_at { Ok(()) } else { Err(StoreError::new(kind, "no")) } }
            })
            .await;
        (made.into_inner(), result)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_passes_is_tried_again() {
        let (attempts, result) = attempts_until(StoreErrorKind::TooSlow, 3).await;
        assert_eq!((attempts, result.unwrap_err().to_string().as_str()), (2, "no; tried 2 times"));
        for kind in [StoreErrorKind::Busy, StoreErrorKind::Unreachable] {
            let (attempts, result) = attempts_until(kind, 3).await;
            assert_eq!(attempts, 3);
            result.unwrap();
            let (attempts, result) = attempts_until(kind, 9).await;
            assert_eq!((attempts, result.unwrap_err().to_string().as_str()), (4, "no; tried 4 times"));
        }
        for kind in [StoreErrorKind::Refused, StoreErrorKind::File, StoreErrorKind::Unusable] {
            let (attempts, result) = attempts_until(kind, 2).await;
            assert_eq!((attempts, result.unwrap_err().kind()), (1, kind));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_is_too_slow() {
        let persistence = Persistence { policy: policy(2), patience: Patience::default() };
        let began = tokio::time::Instant::now();
        let result = persistence.request(32 * 1024 * 10, |_| std::future::pending::<Result<(), _>>()).await;
        assert_eq!(result.unwrap_err().kind(), StoreErrorKind::TooSlow);
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_secs(80) && elapsed < Duration::from_secs(81), "{elapsed:?}");
    }
}

//! Asking the encoder for a key frame.

use std::fmt;
use std::sync::Arc;

/// A handle by which a sink asks for a key frame as soon as possible (a stream that just
/// connected). Asking is cheap and may be ignored; who asks waits for what comes.
#[derive(Clone)]
pub struct KeyFrames(Arc<dyn Fn() + Send + Sync>);

impl KeyFrames {
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// For tests and audio-only recordings: asks nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|| ())
    }

    pub fn request(&self) {
        (self.0)();
    }
}

impl fmt::Debug for KeyFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFrames")
    }
}

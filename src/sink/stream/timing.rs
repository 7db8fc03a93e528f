//! Every time and bound of a stream, in one place. docs/reference/media.md has the field's own
//! figures.

use std::time::Duration;

/// How long a stream waits for what. Tests give shorter ones; everything else takes
/// [`Timing::DEFAULT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timing {
    /// Waited before the first new attempt; doubled for each further one.
    pub(super) first_wait: Duration,
    /// The longest wait between two attempts.
    pub(super) longest_wait: Duration,
    /// From the loss of a connection that worked (or from the first failed attempt) to giving up.
    pub(super) outage: Duration,
    /// An attempt that has sent nothing after this counts as failed. Longer than what the elements
    /// allow themselves for each step (5 s in `rtmp2sink`, 3 s in `srtsink`), so that they can say
    /// what was wrong.
    pub(super) connect: Duration,
    /// A connection that makes no progress for this is lost, and made again: the server takes
    /// nothing any more.
    pub(super) liveness: Duration,
    /// Progress is more than this many bytes.
    pub(super) progress: u64,
    /// A connection must have worked for this long before an outage counts as over. A server that
    /// takes a publisher and drops it a moment later would else be tried for ever.
    pub(super) settle: Duration,
    /// How often the sent bytes are looked at.
    pub(super) look: Duration,
    /// Media that waits for the network, at most, in time.
    pub(super) queue: Duration,
    /// For an address that is removed: to send what is queued and say goodbye.
    pub(super) drain: Duration,
    /// For bringing a pipeline down; a thread that needs longer is left to itself.
    pub(super) close: Duration,
    /// For asking Twitch where to send.
    pub(super) resolve: Duration,
}

impl Timing {
    pub(super) const DEFAULT: Self = Self {
        first_wait: Duration::from_millis(250),
        longest_wait: Duration::from_secs(5),
        outage: Duration::from_secs(30),
        connect: Duration::from_secs(12),
        liveness: Duration::from_secs(30),
        progress: 4096,
        settle: Duration::from_secs(5),
        look: Duration::from_millis(500),
        queue: Duration::from_secs(3),
        drain: Duration::from_secs(5),
        close: Duration::from_secs(3),
        resolve: Duration::from_secs(5),
    };
}

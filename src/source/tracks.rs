//! Tracks of a LiveKit room as a source: received as they were published, without a browser.

mod blank;
mod codec;
mod peer;
mod reconnect;
pub mod room;
mod signal;
mod subscription;
mod sync;
mod transport;

pub use peer::{Frame, PeerError, SenderReport};
pub use room::{Listener, RoomClient, RoomEnd, RoomError, RoomEvent};
pub use signal::SignalError;

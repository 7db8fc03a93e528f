//! The frame times of recordings.

use serde::{Deserialize, Deserializer, Serialize, de};

/// The times of encoded frames. All outputs of a recording share the encoder, and with it the
/// times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrameTimes {
    /// The source's times: when a page drew a frame, or a camera captured it. Fewer frames while
    /// nothing changes.
    #[default]
    Source,
    /// A constant frame rate, also while nothing changes and while there is no video.
    Grid,
}

/// Reads the key of the service's configuration. An empty value means the service's default, the
/// grid.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<FrameTimes, D::Error> {
    let text = String::deserialize(from)?;
    match text.to_ascii_lowercase().as_str() {
        "" | "grid" => Ok(FrameTimes::Grid),
        "source" => Ok(FrameTimes::Source),
        _ => Err(de::Error::invalid_value(de::Unexpected::Str(&text), &"grid or source")),
    }
}

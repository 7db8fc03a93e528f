//! Log level and format (docs/reference/egress.md).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

/// The `logging` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct LoggingConfig {
    pub level: LogLevel,
    /// Log JSON lines instead of text.
    pub json: bool,
    /// Levels of LiveKit's components; accepted without effect.
    pub component_levels: BTreeMap<String, LogLevel>,
    /// Accepted without effect, like the fields below: no event is sampled.
    pub sample: bool,
    pub sample_initial: i64,
    pub sample_interval: i64,
    pub item_sample_seconds: i64,
    pub item_sample_initial: i64,
    pub item_sample_interval: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    Debug,
    #[default]
    Info,
    Warn,
    Error,
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match text.to_ascii_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "" | "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            // The last three are levels of LiveKit's logger, above every level of Weir's.
            "error" | "dpanic" | "panic" | "fatal" => Ok(Self::Error),
            _ => {
                Err(de::Error::invalid_value(de::Unexpected::Str(&text), &"one of debug, info, warn, error"))
            }
        }
    }
}

impl LogLevel {
    /// Returns the name that `tracing` uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

//! Parses durations as in Go's configurations: `500ms`, `1m30s`, `1h30m`, or a number of
//! nanoseconds.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// The valid forms, for errors.
const FORMS: &str = "a duration like 500ms, 90s or 1h30m, or a number of nanoseconds";

/// # Errors
/// The deserializer's, and for an invalid duration.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_any(Nanoseconds)
}

struct Nanoseconds;

impl Visitor<'_> for Nanoseconds {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMS)
    }

    fn visit_u64<E: de::Error>(self, nanoseconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn visit_i64<E: de::Error>(self, nanoseconds: i64) -> Result<Duration, E> {
        let invalid = || E::invalid_value(de::Unexpected::Signed(nanoseconds), &self);
        u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| invalid())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        let parsed: Option<jiff::SignedDuration> = text.parse().ok();
        let parsed = parsed.and_then(|parsed| Duration::try_from(parsed).ok());
        parsed.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// The same for an optional duration; zero means `None`.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|value| u64::try_from(value.as_nanos()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Said(#[serde(deserialize_with = "super::deserialize")] Duration);
        let said = Option::<Said>::deserialize(from)?;
        Ok(said.map(|Said(duration)| duration).filter(|duration| !duration.is_zero()))
    }
}

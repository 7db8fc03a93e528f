//! Values that must never be printed: stream keys, passphrases, credentials.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// A value that prints as `***` however it is formatted. [`Secret::expose`] is the one way to its content, so that a
/// search for that word finds every place that handles one.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the place that has to send it somewhere.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Reading one in gives nothing away.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::deserialize(from).map(Self)
    }
}

/// `#[serde(with = "exposed")]`: a secret written down as it is, for a file or a pipe that only its owner can read. There
/// is no `Serialize` otherwise, so that none gets into a log or a report by being part of something else.
pub mod exposed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Secret;

    /// # Errors
    /// The serialiser's.
    pub fn serialize<T: Serialize, S: Serializer>(secret: &Secret<T>, to: S) -> Result<S::Ok, S::Error> {
        secret.expose().serialize(to)
    }

    /// # Errors
    /// The deserialiser's.
    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Secret<T>, D::Error> {
        Secret::deserialize(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_nothing_of_its_value() {
        let key = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "*** *** Some(***)");
        assert_eq!(key.expose(), "hunter2");
    }
}

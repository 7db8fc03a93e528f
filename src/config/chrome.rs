//! `chrome_flags`: the operator's flags for Chromium, and which of them break recordings.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Chromium flag: `true` sets it, `false` removes it, anything else is its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChromeFlag {
    Switch(bool),
    Value(String),
}

impl<'de> Deserialize<'de> for ChromeFlag {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Flag;

        impl Visitor<'_> for Flag {
            type Value = ChromeFlag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, a text or a number")
            }

            fn visit_bool<E: de::Error>(self, is_set: bool) -> Result<ChromeFlag, E> {
                Ok(ChromeFlag::Switch(is_set))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<ChromeFlag, E> {
                Ok(ChromeFlag::Value(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<ChromeFlag, E> {
                Ok(ChromeFlag::Value(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<ChromeFlag, E> {
                Ok(ChromeFlag::Value(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ChromeFlag, E> {
                Ok(ChromeFlag::Value(text.to_owned()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<ChromeFlag, E> {
                Ok(ChromeFlag::Value(String::new()))
            }
        }

        from.deserialize_any(Flag)
    }
}

impl Serialize for ChromeFlag {
    /// In the form in which it is read.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(is_set) => to.serialize_bool(*is_set),
            Self::Value(value) => to.serialize_str(value),
        }
    }
}

/// Returns the flag's name without leading dashes.
#[must_use]
pub fn name(key: &str) -> &str {
    key.trim_start_matches('-')
}

/// Returns whether a flag selects a proxy.
#[must_use]
pub fn is_proxy(key: &str) -> bool {
    const PROXY: [&str; 5] =
        ["proxy-server", "proxy-pac-url", "proxy-auto-detect", "proxy-bypass-list", "no-proxy-server"];
    PROXY.contains(&name(key))
}

/// Returns what breaks if a flag overrides one that recordings depend on.
#[must_use]
pub fn breaks(key: &str, flag: &ChromeFlag) -> Option<&'static str> {
    let (is_off, value) = match flag {
        ChromeFlag::Switch(is_set) => (!is_set, ""),
        ChromeFlag::Value(value) => (false, value.as_str()),
    };
    // The value that Weir sets itself breaks nothing.
    let ours = match name(key) {
        "kiosk" => !is_off,
        "remote-debugging-pipe" => !is_off && value.is_empty(),
        "window-position" => value == "0,0",
        "ozone-platform" => value == "x11",
        "force-device-scale-factor" => value == "1",
        "user-data-dir" | "window-size" => false,
        // Flags that Weir does not set.
        "headless"
        | "no-startup-window"
        | "silent-launch"
        | "remote-debugging-port"
        | "remote-debugging-address"
        | "mute-audio"
        | "disable-audio-output" => is_off,
        _ => return None,
    };
    (!ours).then_some(match name(key) {
        "remote-debugging-pipe" => "recordings control the browser through it",
        "remote-debugging-port" | "remote-debugging-address" => {
            "anyone who reaches the port, including a page, controls the browser"
        }
        "user-data-dir" => "two recordings can't share a profile",
        "mute-audio" | "disable-audio-output" => "recordings have no audio",
        "headless" | "no-startup-window" | "silent-launch" | "ozone-platform" => "recordings have no video",
        _ => "the page does not fill the frame",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_serialization() {
        for flag in [ChromeFlag::Switch(true), ChromeFlag::Switch(false), ChromeFlag::Value("1,2".to_owned())]
        {
            let text = serde_json::to_string(&flag).unwrap();
            assert_eq!(serde_json::from_str::<ChromeFlag>(&text).unwrap(), flag, "{text}");
        }
    }

    #[test]
    fn only_overridden_dependencies_break_recordings() {
        let value = |text: &str| ChromeFlag::Value(text.to_owned());
        for (key, flag, is_broken) in [
            ("kiosk", ChromeFlag::Switch(false), true),
            ("kiosk", ChromeFlag::Switch(true), false),
            ("--headless", value("new"), true),
            ("headless", ChromeFlag::Switch(false), false),
            ("remote-debugging-port", value("9222"), true),
            ("remote-debugging-port", value("0"), true),
            ("remote-debugging-port", ChromeFlag::Switch(false), false),
            ("remote-debugging-pipe", ChromeFlag::Switch(true), false),
            ("remote-debugging-pipe", ChromeFlag::Switch(false), true),
            ("remote-debugging-pipe", value("cbor"), true),
            ("user-data-dir", value("/tmp/profile"), true),
            ("mute-audio", ChromeFlag::Switch(true), true),
            ("disable-gpu", ChromeFlag::Switch(false), false),
        ] {
            assert_eq!(breaks(key, &flag).is_some(), is_broken, "{key}: {flag:?}");
        }
    }
}

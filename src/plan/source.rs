//! Sources of video and audio.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::page::Page;
use super::request::CaptureKind;
use super::room::{RoomAccess, RoomLabel};
use super::track::TracksPlan;
use crate::config::chrome::{self, ChromeFlag};

/// The source of video and audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePlan {
    /// A page in Chromium on a virtual display.
    Web(WebPlan),
    /// Tracks of a room, as they are published.
    Tracks(TracksPlan),
}

impl SourcePlan {
    /// Name and id of the room whose recording it is. The id is empty where it is unknown.
    #[must_use]
    pub fn room_label(&self) -> Option<(&str, &str)> {
        match self {
            Self::Web(WebPlan { page: Page::Address(_), room, .. }) => {
                room.as_ref().map(|room| (room.name.as_str(), room.id.as_str()))
            }
            Self::Web(_) | Self::Tracks(_) => self.room().map(|room| (room.name.as_str(), room.id.as_str())),
        }
    }

    /// Takes the id of the room that was joined, where the request did not have it. Gives whether
    /// it was missing.
    pub fn set_room_id(&mut self, id: &str) -> bool {
        let room = match self {
            Self::Web(WebPlan { page: Page::Room(page), .. }) => &mut page.room,
            Self::Web(_) => return false,
            Self::Tracks(tracks) => &mut tracks.room,
        };
        let is_missing = room.id.is_empty();
        if is_missing {
            id.clone_into(&mut room.id);
        }
        is_missing
    }

    /// The room that is joined, where one is.
    #[must_use]
    pub fn room(&self) -> Option<&RoomAccess> {
        match self {
            Self::Web(WebPlan { page: Page::Room(page), .. }) => Some(&page.room),
            Self::Web(_) => None,
            Self::Tracks(tracks) => Some(&tracks.room),
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct WebPlan {
    pub page: Page,
    /// The recording's room, for a page that joins none.
    pub room: Option<RoomLabel>,
    pub start: StartRule,
    pub capture: CaptureKind,
    /// Size of the display in pixels: that of the video, or 16x16 without video.
    pub width: u32,
    pub height: u32,
    /// Recorded frames per second; the page paints at this rate if possible.
    pub fps: u32,
    pub has_video: bool,
    pub has_audio: bool,
    pub browser: BrowserSettings,
}

/// An operator's settings for every browser.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrowserSettings {
    /// Pages may read what other origins have, and load what is not encrypted.
    pub insecure: bool,
    /// Whether pages, and all other connections of a recording, are kept from link-local addresses
    /// and metadata services.
    pub refuse_link_local: bool,
    /// Ports of this service on its own machine. Pages are refused there, so that nobody records
    /// the console or the metrics.
    pub own_ports: BTreeSet<u16>,
    /// By name; after and over our own.
    pub flags: BTreeMap<String, ChromeFlag>,
}

impl BrowserSettings {
    /// Whether one of our own flags is not wanted.
    #[must_use]
    pub fn leaves_out(&self, name: &str) -> bool {
        self.flags.iter().any(|(key, flag)| chrome::name(key) == name && *flag == ChromeFlag::Switch(false))
    }

    /// Whether an operator's flags say how the browser gets out. Then whoever they send it to
    /// decides what pages reach.
    #[must_use]
    pub fn sets_proxy(&self) -> bool {
        self.flags.keys().any(|key| chrome::is_proxy(key))
    }

    /// Flags after our own, as arguments. Chromium uses the last one of a name.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let argument = |(key, flag): (&String, &ChromeFlag)| match (chrome::name(key), flag) {
            (_, ChromeFlag::Switch(false)) => None,
            (name, ChromeFlag::Switch(true)) => Some(format!("--{name}")),
            (name, ChromeFlag::Value(value)) => Some(format!("--{name}={value}")),
        };
        self.flags.iter().filter_map(argument).collect()
    }
}

impl fmt::Debug for BrowserSettings {
    /// Flags print by name: a value may be more than that.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { insecure, refuse_link_local, own_ports, flags } = self;
        let names: Vec<&str> = flags.keys().map(String::as_str).collect();
        f.debug_struct("BrowserSettings")
            .field("insecure", insecure)
            .field("refuse_link_local", refuse_link_local)
            .field("own_ports", own_ports)
            .field("flags", &names)
            .finish()
    }
}

impl fmt::Debug for WebPlan {
    /// The browser's terms print where there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, room, start, capture, width, height, fps, has_video, has_audio, browser } = self;
        let mut shown = f.debug_struct("WebPlan");
        shown.field("page", page);
        if let Some(room) = room {
            shown.field("room", room);
        }
        shown
            .field("start", start)
            .field("capture", capture)
            .field("width", width)
            .field("height", height)
            .field("fps", fps)
            .field("has_video", has_video)
            .field("has_audio", has_audio);
        if *browser != BrowserSettings::default() {
            shown.field("browser", browser);
        }
        shown.finish()
    }
}

/// When the recording begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartRule {
    /// When the page is loaded.
    OnLoad,
    /// When the page logs `START_RECORDING`.
    OnSignal,
}

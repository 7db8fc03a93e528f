//! The figures as JSON and as tables, with the machine they came from.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::aac::Aac;
use crate::cases::Measured;
use crate::encoder::Encoder;
use crate::support::recorder::first_line;
use crate::support::tool::run;
use crate::tracks;
use crate::upload::Upload;

#[derive(Debug, Serialize)]
pub(crate) struct Results {
    machine: Machine,
    pub(crate) recordings: Vec<Measured>,
    tracks: Vec<tracks::Measured>,
    encoders: Vec<Encoder>,
    aac: Vec<Aac>,
    upload: Option<Upload>,
}

#[derive(Debug, Serialize)]
struct Machine {
    date: String,
    commit: String,
    processor: String,
    cores: usize,
    memory_gb: u64,
    system: String,
    chromium: String,
    gstreamer: String,
}

impl Machine {
    fn this() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once([':', '='])
                .map_or("unknown", |(_, value)| value)
                .trim()
                .trim_matches('"')
                .to_owned()
        };
        let memory = field(&file("/proc/meminfo"), "MemTotal");
        let kilobytes: u64 = memory.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let commit = run("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"], None);
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            commit: String::from_utf8_lossy(&commit.stdout).trim().to_owned(),
            processor: field(&file("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gb: kilobytes.div_ceil(1 << 20),
            system: field(&file("/etc/os-release"), "PRETTY_NAME"),
            chromium: first_line("chromium", "--version"),
            gstreamer: gstreamer::version_string().to_string(),
        }
    }
}

impl Results {
    pub(crate) fn new(
        recordings: Vec<Measured>,
        tracks: Vec<tracks::Measured>,
        encoders: Vec<Encoder>,
        aac: Vec<Aac>,
        upload: Option<Upload>,
    ) -> Self {
        Self { machine: Machine::this(), recordings, tracks, encoders, aac, upload }
    }

    /// A file name of this run.
    pub(crate) fn stamp(&self) -> String {
        self.machine.date.replace([' ', ':'], "-").replace("-UTC", "")
    }

    pub(crate) fn markdown(&self) -> String {
        let Machine { date, commit, processor, cores, memory_gb, system, chromium, gstreamer } =
            &self.machine;
        let mut text = format!(
            "{date}, commit {commit}, on {cores} cores of {processor}, {memory_gb} GB, {system}, {}, {gstreamer}.\n\n",
            chromium.split(" built").next().unwrap_or(chromium)
        );
        if !self.recordings.is_empty() {
            text += &self.pages();
        }
        if !self.tracks.is_empty() {
            text += &tracks::markdown(&self.tracks);
        }
        if !self.encoders.is_empty() {
            text += "\n| x264 at 3 Mb/s, 720p30, noisy zoom | SSIM | cores | kb/s |\n|---|--:|--:|--:|\n";
            for Encoder { name, ssim_db, cores, kbps } in &self.encoders {
                writeln!(text, "| {name} | {ssim_db:.2} dB | {cores:.2} | {kbps:.0} |")
                    .expect("a string takes all");
            }
        }
        if !self.aac.is_empty() {
            text += "\n| AAC at 128 kb/s, 48 kHz | SNR, same sides | sides differ by | SNR, different sides | crosstalk | cores |\n\
                     |---|--:|--:|--:|--:|--:|\n";
            for Aac { name, snr_db, sides_differ, stereo_snr_db, crosstalk_db, cores } in &self.aac {
                writeln!(
                    text,
                    "| {name} | {snr_db:.1} dB | {sides_differ:.4} | {stereo_snr_db:.1} dB | {crosstalk_db:.0} dB | {cores:.3} |"
                )
                .expect("a string takes all");
            }
        }
        if let Some(upload) = &self.upload {
            text += &upload.markdown();
        }
        text
    }

    fn pages(&self) -> String {
        let mut text = String::from(
            "| page | size | capture | cores: browser | display | audio | recorder | **in all** | PSS | first frame \
             | fps | jitter p95 | torn | audio late (worst) |\n",
        );
        text += "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        for row in &self.recordings {
            let group = |name: &str| row.costs.cores.get(name).copied().unwrap_or_default();
            let or_none = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
            writeln!(
                text,
                "| {}{}{} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | **{:.2}** | {} MB | {:.2} s | {} | {} | {} | {} |",
                row.page,
                if row.live { ", with a live stream" } else { "" },
                if row.grid { ", on the grid" } else { "" },
                row.size,
                row.capture,
                group("browser"),
                group("display"),
                group("sound"),
                group("recorder") + group("other"),
                row.costs.cores_in_all,
                row.costs.pss_peak >> 20,
                row.first_picture,
                or_none(row.distinct.map(|value| format!("{value:.1}"))),
                or_none(row.jitter_p95_ms.map(|value| format!("{value:.1} ms"))),
                row.torn,
                or_none(row.audio_late_ms.map(|(median, worst)| format!("{median:.0} ms ({worst:.0})"))),
            )
            .expect("a string takes all");
        }
        text
    }
}

const BEGIN: &str = "<!-- figures: written by `make bench` -->";
const END: &str = "<!-- end of figures -->";

/// Puts the tables between the two marks of a document.
pub(crate) fn replace_figures(document: &Path, tables: &str) {
    let text = std::fs::read_to_string(document).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the document has the mark of the figures' begin");
    let (_, tail) = rest.split_once(END).expect("the document has the mark of the figures' end");
    std::fs::write(document, format!("{head}{BEGIN}\n\n{tables}\n{END}{tail}")).unwrap();
}

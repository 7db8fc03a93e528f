//! Running processes of a recorder, by group, with their cost.

use std::collections::HashSet;

use procfs::process::{Process, all_processes};

/// The part of a recording that a process belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Group {
    Recorder,
    Browser,
    Display,
    Audio,
    Other,
}

impl Group {
    pub(crate) const ALL: [Self; 5] =
        [Self::Browser, Self::Display, Self::Audio, Self::Recorder, Self::Other];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Recorder => "recorder",
            Self::Browser => "browser",
            Self::Display => "display",
            Self::Audio => "sound",
            Self::Other => "other",
        }
    }

    fn of(name: &str, arguments: &[String]) -> Self {
        // Chromium's processes rewrite their argument list into one string, with other slashes in
        // it.
        let path = arguments.first().and_then(|path| path.split(' ').next()).unwrap_or(name);
        match path.rsplit('/').next().unwrap_or(path) {
            program if program.starts_with("chrom") => Self::Browser,
            "Xvfb" => Self::Display,
            "pulseaudio" => Self::Audio,
            "weir" => Self::Recorder,
            _ => Self::Other,
        }
    }
}

/// One process at one moment. A pid may be reused; together with the start time it is unique.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) start: u64,
    parent: i32,
    process_group: i32,
    pub(crate) group: Group,
    pub(crate) arguments: Vec<String>,
    /// Used CPU time in seconds.
    pub(crate) cpu: f64,
}

impl Seen {
    fn of(process: &Process, ticks: f64) -> Option<Self> {
        let stat = process.stat().ok()?;
        // A zombie holds nothing but its number; the kernel's own threads are children of process
        // 2.
        if stat.state == 'Z' || stat.state == 'X' || stat.ppid == 2 {
            return None;
        }
        let arguments = process.cmdline().unwrap_or_default();
        Some(Self {
            pid: stat.pid,
            start: stat.starttime,
            parent: stat.ppid,
            process_group: stat.pgrp,
            group: Group::of(&stat.comm, &arguments),
            arguments,
            cpu: (stat.utime + stat.stime) as f64 / ticks,
        })
    }

    /// Proportional share of memory in bytes; 0 if it is gone or unreadable.
    pub(crate) fn pss(&self) -> u64 {
        let rollup = Process::new(self.pid).and_then(|process| process.smaps_rollup());
        let maps = rollup.map(|rollup| rollup.memory_map_rollup.0).unwrap_or_default();
        maps.iter().filter_map(|map| map.extension.map.get("Pss")).sum()
    }
}

/// All running processes except zombies.
pub(crate) fn all() -> Vec<Seen> {
    let ticks = procfs::ticks_per_second() as f64;
    // Processes that end during the walk are left out.
    all_processes().unwrap().filter_map(Result::ok).filter_map(|process| Seen::of(&process, ticks)).collect()
}

/// A process, its descendants, and all that share a process group with one of them (also a helper
/// whose parent has ended).
pub(crate) fn family(root: i32) -> Vec<Seen> {
    let all = all();
    family_among(&all, root).cloned().collect()
}

/// The same, from an earlier list of processes.
pub(crate) fn family_among(all: &[Seen], root: i32) -> impl Iterator<Item = &Seen> {
    let mut members: HashSet<i32> = HashSet::from([root]);
    loop {
        let groups: HashSet<i32> = members.clone();
        let more: Vec<i32> = all
            .iter()
            .filter(|seen| !members.contains(&seen.pid))
            .filter(|seen| members.contains(&seen.parent) || groups.contains(&seen.process_group))
            .map(|seen| seen.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        members.extend(more);
    }
    all.iter().filter(move |seen| members.contains(&seen.pid))
}

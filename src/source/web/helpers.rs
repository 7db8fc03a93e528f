//! The browser's helper processes on which a page that is recorded depends. Pure, but for [`role`]
//! and [`is_stopped`].

use std::collections::BTreeMap;

/// The process that all of a page's requests go through.
pub(super) const NETWORK: &str = "the browser's network process";

/// Marks in a command line, and what such a process is called.
const ROLES: &[(&str, &str)] = &[
    ("--type=gpu-process", "the browser's GPU process"),
    ("--utility-sub-type=network.mojom.NetworkService", NETWORK),
];

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// One that is missed when it is gone.
    Named(&'static str),
    Other,
    /// It has just been forked, and not yet become what it will be.
    Unsettled,
}

/// Reads the role from the command line.
pub(super) async fn role(pid: i32) -> Role {
    let line = tokio::fs::read(format!("/proc/{pid}/cmdline")).await.unwrap_or_default();
    role_of(&String::from_utf8_lossy(&line))
}

/// Whether a process is stopped: by SIGSTOP, or by a debugger. One that is gone is not.
pub(super) async fn is_stopped(pid: i32) -> bool {
    let stat = tokio::fs::read(format!("/proc/{pid}/stat")).await.unwrap_or_default();
    is_stopped_by(&String::from_utf8_lossy(&stat))
}

/// `7 (name) S 1 …`; the name may hold anything.
fn is_stopped_by(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

fn role_of(line: &str) -> Role {
    if line.is_empty() || line.contains("--type=zygote") {
        return Role::Unsettled;
    }
    ROLES.iter().find(|(mark, _)| line.contains(mark)).map_or(Role::Other, |(_, name)| Role::Named(name))
}

/// The helpers that were there when it was last looked.
#[derive(Debug, Default)]
pub(super) struct Helpers(BTreeMap<i32, Role>);

impl Helpers {
    /// Those of which it is not known yet what they are.
    pub(super) fn unknown(&self, there: &[i32]) -> Vec<i32> {
        let is_unknown = |pid: &i32| self.0.get(pid).is_none_or(|role| *role == Role::Unsettled);
        there.iter().copied().filter(is_unknown).collect()
    }

    /// The processes that are called so.
    pub(super) fn named(&self, name: &str) -> Vec<i32> {
        let is_it = |role: &Role| matches!(role, Role::Named(known) if *known == name);
        self.0.iter().filter(|(_, role)| is_it(role)).map(|(pid, _)| *pid).collect()
    }

    pub(super) fn learn(&mut self, pid: i32, role: Role) {
        self.0.insert(pid, role);
    }

    /// Helpers that have disappeared since the last look. Each is returned once.
    pub(super) fn missing(&mut self, there: &[i32]) -> Vec<&'static str> {
        let mut missing = Vec::new();
        self.0.retain(|pid, role| {
            let is_there = there.contains(pid);
            if let (false, Role::Named(name)) = (is_there, *role) {
                missing.push(name);
            }
            is_there
        });
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_died_is_told_once_by_its_name() {
        let mut helpers = Helpers::default();
        assert_eq!(helpers.unknown(&[5, 6, 7]), [5, 6, 7]);
        for (pid, line) in [
            // Chromium writes its arguments into one string.
            (5, "/usr/lib/chromium/chromium --type=gpu-process --ozone-platform=x11"),
            (6, "/usr/lib/chromium/chromium --type=zygote"),
            (7, "chromium\0--type=utility\0--utility-sub-type=network.mojom.NetworkService\0"),
        ] {
            helpers.learn(pid, role_of(line));
        }
        assert_eq!(helpers.unknown(&[5, 6, 7, 8]), [6, 8], "a fork becomes what it will be");
        assert_eq!(helpers.named(NETWORK), [7]);
        helpers.learn(6, role_of("chromium --type=utility --utility-sub-type=storage.mojom.StorageService"));
        assert!(helpers.missing(&[5, 6, 7]).is_empty());
        assert!(helpers.missing(&[5, 7]).is_empty(), "nobody misses it");
        assert_eq!(helpers.missing(&[7, 9]), ["the browser's GPU process"]);
        assert_eq!(helpers.missing(&[9]), ["the browser's network process"]);
        assert!(helpers.missing(&[]).is_empty());
    }

    #[test]
    fn who_is_stopped_is_told_by_its_state() {
        for (stat, expected) in [
            ("7 (chromium) T 1 7 7 0", true),
            ("7 (chromium) t 1 7 7 0", true),
            ("7 (chromium) S 1 7 7 0", false),
            ("7 (a) T b) R 1 7 7 0", false),
            ("", false),
        ] {
            assert_eq!(is_stopped_by(stat), expected, "{stat}");
        }
    }
}

//! Reads the control group, version 1 or 2: limits and use of CPU and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The control group of a process. Missing values are `None`.
#[derive(Debug, Clone, Default)]
pub(super) struct Cgroup {
    cpu: Option<Controller>,
    cpu_usage: Option<Controller>,
    memory: Option<Controller>,
}

#[derive(Debug, Clone)]
struct Controller {
    version: Version,
    /// The group's, and those above it.
    dirs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// This process's.
    pub(super) fn of_process() -> Self {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(Path::new("/sys/fs/cgroup"), &membership)
    }

    /// `root`: where the file systems are mounted. `membership`: as `/proc/self/cgroup` has it.
    pub(super) fn find(root: &Path, membership: &str) -> Self {
        let controller = |name: &str, file: [&str; 2]| {
            let [of_one, of_two] = file;
            let one = membership.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                let mount = controllers.split(',').any(|controller| controller == name);
                let mounts = [controllers, name].map(|mount| root.join(mount));
                let mount = mounts.into_iter().find(|dir| mount && dir.is_dir())?;
                Some(Controller { version: Version::One, dirs: chain(&mount, path, of_one)? })
            });
            one.or_else(|| {
                let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
                Some(Controller { version: Version::Two, dirs: chain(root, path, of_two)? })
            })
        };
        Self {
            cpu: controller("cpu", ["cpu.cfs_quota_us", "cpu.max"]),
            cpu_usage: controller("cpuacct", ["cpuacct.usage", "cpu.stat"]),
            memory: controller("memory", ["memory.usage_in_bytes", "memory.current"]),
        }
    }

    /// Cores that all of the group may use together. The narrowest of those above it counts.
    pub(super) fn cores(&self) -> Option<f64> {
        let Controller { version, dirs } = self.cpu.as_ref()?;
        let quotas = dirs.iter().filter_map(|dir| {
            let (quota, period) = match version {
                Version::One => (read(dir, "cpu.cfs_quota_us")?, read(dir, "cpu.cfs_period_us")?),
                Version::Two => {
                    let text = read(dir, "cpu.max")?;
                    let (quota, period) = text.split_once(' ')?;
                    (quota.to_owned(), period.to_owned())
                }
            };
            // `max` and `-1` mean unlimited.
            let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
            (quota > 0.0 && period > 0.0).then(|| quota / period)
        });
        quotas.min_by(f64::total_cmp)
    }

    /// CPU time that the group has used so far; `None` also where it is the whole machine.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let Controller { version, dirs } = self.cpu_usage.as_ref()?;
        let dir = dirs.first()?;
        match version {
            Version::One => read(dir, "cpuacct.usage")?.parse().ok().map(Duration::from_nanos),
            Version::Two => field(&read(dir, "cpu.stat")?, "usage_usec").map(Duration::from_micros),
        }
    }

    /// Bytes that the group holds and that can't be taken back from it at once.
    pub(super) fn memory(&self) -> Option<u64> {
        let Controller { version, dirs } = self.memory.as_ref()?;
        let dir = dirs.first()?;
        let (used, inactive) = match version {
            Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::Two => ("memory.current", "inactive_file"),
        };
        let used: u64 = read(dir, used)?.parse().ok()?;
        let inactive = field(&read(dir, "memory.stat")?, inactive)?;
        Some(used.saturating_sub(inactive))
    }
}

/// The group's directory and those above it, below a mount. Inside a container the path is often
/// the host's, and the mount's root is the group.
fn chain(mount: &Path, path: &str, file: &str) -> Option<Vec<PathBuf>> {
    let own = mount.join(path.trim_start_matches('/'));
    let own = if own.join(file).is_file() { own } else { mount.to_owned() };
    let dirs: Vec<PathBuf> =
        own.ancestors().take_while(|dir| dir.starts_with(mount)).map(Path::to_owned).collect();
    own.join(file).is_file().then_some(dirs)
}

fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok().map(|text| text.trim().to_owned())
}

/// `name value`, one a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn version_two_is_read_and_the_narrowest_quota_counts() {
        let root = tree(&[
            ("pods/cpu.max", "150000 100000\n"),
            ("pods/one/cpu.max", "max 100000\n"),
            ("pods/one/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
            ("pods/one/memory.current", "5000\n"),
            ("pods/one/memory.stat", "anon 1\ninactive_file 1200\nactive_file 3\n"),
        ]);
        let cgroup = Cgroup::find(root.path(), "0::/pods/one\n");
        assert_eq!(cgroup.cores(), Some(1.5));
        assert_eq!(cgroup.cpu_time(), Some(Duration::from_millis(2500)));
        assert_eq!(cgroup.memory(), Some(3800));
    }

    #[test]
    fn inside_a_container_the_mount_is_the_group() {
        let root =
            tree(&[("cpu.max", "50000 100000"), ("memory.current", "7"), ("memory.stat", "inactive_file 9")]);
        let cgroup = Cgroup::find(root.path(), "0::/host/path\n");
        assert_eq!((cgroup.cores(), cgroup.memory(), cgroup.cpu_time()), (Some(0.5), Some(0), None));
    }

    #[test]
    fn version_one_is_read() {
        let root = tree(&[
            ("cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n"),
            ("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/a/cpuacct.usage", "3000000000\n"),
            ("memory/memory.usage_in_bytes", "900\n"),
            ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 400\n"),
        ]);
        let cgroup = Cgroup::find(root.path(), "4:memory:/gone\n3:cpu,cpuacct:/a\n0::/\n");
        assert_eq!((cgroup.cores(), cgroup.cpu_time()), (Some(2.5), Some(Duration::from_secs(3))));
        assert_eq!(cgroup.memory(), Some(500));
        fs::write(root.path().join("cpu,cpuacct/a/cpu.cfs_quota_us"), "-1").unwrap();
        assert_eq!(cgroup.cores(), None);
    }

    #[test]
    fn what_is_not_there_is_not_said() {
        let root = tree(&[]);
        for membership in ["", "0::/\n", "1:cpu:/\n", "rubbish\n::\n"] {
            let cgroup = Cgroup::find(root.path(), membership);
            assert_eq!((cgroup.cores(), cgroup.memory(), cgroup.cpu_time()), (None, None, None));
        }
    }
}

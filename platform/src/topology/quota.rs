//! How much CPU time the control groups of this process allow.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// CPU time a control group may use in each period; beyond it all its threads
/// wait for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Microseconds of CPU time, all CPUs together.
    pub quota: u64,
    /// Microseconds of a period; not zero.
    pub period: u64,
}

impl Quota {
    /// The tightest quota of this process's group and those above it
    /// (`cpu.max` of cgroup v2, `cpu.cfs_quota_us` of v1). `None` without one.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let files = |path: &Path| fs::read_to_string(path).ok();
        tightest(&groups, &mounts, files)
    }

    /// How many CPUs may run all the time, in hundredths.
    #[must_use]
    pub fn hundredths(self) -> u64 {
        self.quota.saturating_mul(100) / self.period
    }

    /// Whole CPUs it suffices for, at least 1.
    #[must_use]
    pub fn whole_cpus(self) -> usize {
        let whole = usize::try_from(self.quota / self.period);
        whole.unwrap_or(usize::MAX).max(1)
    }

    fn is_tighter(self, than: Self) -> bool {
        let [own, other] = [(self, than), (than, self)]
            .map(|(one, two)| u128::from(one.quota) * u128::from(two.period));
        own < other
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = self.hundredths();
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

/// One hierarchy of control groups: v2, or v1's of the CPU controller.
#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// Looks in every group from this process's up to the mount's root.
fn tightest(groups: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<Quota> {
    let mut tightest: Option<Quota> = None;
    for (version, mount, own) in groups.lines().filter_map(|line| locate(line, mounts)) {
        let levels = own.ancestors().take_while(|path| path.starts_with(&mount));
        for quota in levels.filter_map(|level| quota(version, level, &read)) {
            if tightest.is_none_or(|known| quota.is_tighter(known)) {
                tightest = Some(quota);
            }
        }
    }
    tightest
}

/// The mount point and this process's folder, from a line of
/// `/proc/self/cgroup` such as `0::/user.slice` or `4:cpu,cpuacct:/`.
fn locate(line: &str, mounts: &str) -> Option<(Version, PathBuf, PathBuf)> {
    let mut fields = line.splitn(3, ':');
    let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let version = match controllers {
        "" if id == "0" => Version::Two,
        list if list.split(',').any(|name| name == "cpu") => Version::One,
        _ => return None,
    };
    let (root, mount) = mounts.lines().find_map(|line| mounted(line, version))?;
    // In a container the path may be the host's while the mount begins at the
    // container's group: then the mount is the group.
    let below = Path::new(path).strip_prefix(root).ok();
    let below = below.filter(|below| !below.starts_with(".."));
    let own = below.map_or_else(|| mount.clone(), |below| mount.join(below));
    Some((version, mount, own))
}

/// The root within the hierarchy and the mount point, from a line of
/// `/proc/self/mountinfo` (see proc(5)).
fn mounted(line: &str, version: Version) -> Option<(&str, PathBuf)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let (system, options) = (kind.next()?, kind.nth(1)?);
    let is_it = match version {
        Version::Two => system == "cgroup2",
        Version::One => system == "cgroup" && options.split(',').any(|option| option == "cpu"),
    };
    let mut place = place.split(' ').skip(3);
    is_it.then_some((place.next()?, PathBuf::from(place.next()?)))
}

fn quota(version: Version, group: &Path, read: &impl Fn(&Path) -> Option<String>) -> Option<Quota> {
    let text = match version {
        // "max 100000", or the quota and the period.
        Version::Two => read(&group.join("cpu.max"))?,
        // -1 is no quota.
        Version::One => {
            let quota = read(&group.join("cpu.cfs_quota_us"))?;
            let period = read(&group.join("cpu.cfs_period_us"))?;
            format!("{quota} {period}")
        }
    };
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (period > 0).then_some(Quota { quota, period })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(groups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<String> {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        tightest(groups, mounts, read).map(|quota| quota.to_string())
    }

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_tightest_group_above_counts() {
        let files = [
            ("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/cpu.max", "40000 10000\n"),
        ];
        assert_eq!(find("0::/a/b\n", V2, &files).as_deref(), Some("1.50"));
        assert_eq!(find("0::/\n", V2, &files).as_deref(), Some("4.00"));
        assert_eq!(find("0::/a/b\n", V2, &files[..1]), None);
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let files = [("/sys/fs/cgroup/cpu.max", "50000 100000\n")];
        assert_eq!(find("0::/\n", V2, &files).as_deref(), Some("0.50"));
        assert_eq!(find("0::/../x\n", V2, &files).as_deref(), Some("0.50"));
        let host = "40 33 0:30 /docker/f00 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n";
        let files = [
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        let groups = "4:cpu,cpuacct:/docker/f00\n3:cpuset:/docker/f00\n0::/\n";
        assert_eq!(find(groups, host, &files).as_deref(), Some("2.50"));
    }

    #[test]
    fn no_quota_and_nonsense_are_no_quota() {
        let v1 = "40 33 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let files = [
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(find("1:cpu:/\n", v1, &files), None);
        for text in ["", "100", "1 0", "x y", "max"] {
            let files = [("/sys/fs/cgroup/cpu.max", text)];
            assert_eq!(find("0::/\n", V2, &files), None, "{text:?}");
        }
        for line in ["", "0", "0:", "::", "nonsense"] {
            assert_eq!(find(line, "nonsense - x", &[]), None, "{line:?}");
        }
    }

    #[test]
    fn whole_cpus_are_at_least_one() {
        let whole = |quota, period| Quota { quota, period }.whole_cpus();
        assert_eq!(
            (whole(50, 100), whole(199, 100), whole(400, 100)),
            (1, 1, 4)
        );
    }
}

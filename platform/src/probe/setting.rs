//! The kernel's settings that a server with many connections meets.

use std::fs;
use std::path::Path;

/// A setting of the kernel (`sysctl`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, such as `net.core.somaxconn`.
    pub name: &'static str,
    /// What it bounds, with its unit.
    pub bounds: &'static str,
    /// Its numbers: usually one, three where the kernel keeps a low, a middle
    /// and a high one.
    pub values: Vec<u64>,
}

/// The settings that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

/// Each with what it bounds.
const KNOWN: [(&str, &str); 11] = [
    ("fs.file-max", "open files of all processes"),
    ("fs.nr_open", "highest limit on open files of a process"),
    (
        "net.core.somaxconn",
        "connections waiting to be accepted, per listener",
    ),
    (
        "net.ipv4.tcp_max_syn_backlog",
        "connections half open, per listener",
    ),
    (
        "net.ipv4.tcp_syncookies",
        "1: connections half open may be more than that",
    ),
    (
        "net.ipv4.ip_local_port_range",
        "ports of outgoing connections, first and last",
    ),
    (
        "net.ipv4.ip_unprivileged_port_start",
        "first port that needs no right",
    ),
    (
        "net.ipv4.tcp_mem",
        "memory of TCP in pages: normal, pressure, most",
    ),
    (
        "net.ipv4.tcp_rmem",
        "receive buffer in bytes: least, default, most",
    ),
    (
        "net.ipv4.tcp_wmem",
        "send buffer in bytes: least, default, most",
    ),
    ("vm.max_map_count", "memory mappings of a process"),
];

impl Settings {
    /// Systems other than Linux have none of them.
    pub(super) fn read() -> Self {
        Self::read_from(Path::new("/proc/sys"))
    }

    fn read_from(root: &Path) -> Self {
        let setting = |(name, bounds): (&'static str, _)| {
            let text = fs::read_to_string(root.join(name.replace('.', "/"))).ok()?;
            let values: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
            let values = values.ok().filter(|values| !values.is_empty())?;
            Some(Setting {
                name,
                bounds,
                values,
            })
        };
        Self(KNOWN.into_iter().filter_map(setting).collect())
    }

    /// Whether none could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The settings.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// The numbers of a setting; empty when it could not be read.
    #[must_use]
    pub fn values(&self, name: &str) -> &[u64] {
        let found = self.0.iter().find(|setting| setting.name == name);
        found.map_or(&[], |setting| &setting.values)
    }

    /// The only number of a setting, or its first.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        self.values(name).first().copied()
    }

    #[cfg(test)]
    pub(super) fn of(values: &[(&'static str, &[u64])]) -> Self {
        let setting = |&(name, values): &(&'static str, &[u64])| Setting {
            name,
            bounds: "",
            values: values.to_vec(),
        };
        Self(values.iter().map(setting).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_left_out() {
        assert_eq!(
            Settings::read_from(Path::new("/nowhere")),
            Settings::default()
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn settings_are_what_the_kernel_says() {
        let settings = Settings::read();
        let text = fs::read_to_string("/proc/sys/fs/nr_open").expect("every Linux has it");
        assert_eq!(settings.value("fs.nr_open"), text.trim().parse().ok());
        assert_eq!(settings.values("net.ipv4.tcp_rmem").len(), 3);
        assert_eq!(settings.values("no.such.setting"), [0; 0]);
    }
}

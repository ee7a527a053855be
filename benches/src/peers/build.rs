//! Building the peers and the load generator.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::catalog::{self, Kind, Peer};

/// This package's folder.
pub(crate) const BENCHES: &str = env!("CARGO_MANIFEST_DIR");

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Binaries {
    /// The load generator.
    pub(crate) loadgen: PathBuf,
    /// The program of each peer, by its name, or why there is none.
    peers: BTreeMap<&'static str, Result<PathBuf, String>>,
}

/// How the crates of others are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// To be measured.
    Optimised,
    /// To be tried, in a fraction of the time.
    Quickly,
}

impl Made {
    /// The name of cargo's profile.
    fn profile(self) -> &'static str {
        match self {
            Self::Optimised => "release",
            Self::Quickly => "dev",
        }
    }

    /// The folder in which cargo puts its programs.
    fn folder(self) -> &'static str {
        match self {
            Self::Optimised => "release",
            Self::Quickly => "debug",
        }
    }
}

impl Binaries {
    /// Builds what the peers need, other people's crates as `made` says. A peer
    /// that cannot be built fails alone.
    ///
    /// # Errors
    /// When there is no load generator.
    pub(crate) fn build(peers: &[Peer], made: Made) -> Result<Self, String> {
        let loadgen = ours("HIOLOAD_LOADGEN", "hioload-loadgen")?;
        let together = together(peers, made);
        let mut built = BTreeMap::new();
        for peer in peers {
            built.insert(peer.name, program(peer, made, together));
        }
        Ok(Self {
            loadgen,
            peers: built,
        })
    }

    /// The program of a peer.
    pub(crate) fn of(&self, peer: &Peer) -> Result<&Path, String> {
        match self.peers.get(peer.name) {
            Some(Ok(path)) => Ok(path),
            Some(Err(message)) => Err(message.clone()),
            None => Err(format!("{} was not built", peer.name)),
        }
    }
}

/// The program of a peer, built unless all Rust peers were already.
fn program(peer: &Peer, made: Made, together: bool) -> Result<PathBuf, String> {
    match peer.kind {
        Kind::Hioload => ours("HIOLOAD_SERVER", "hioload-server"),
        Kind::Raw(_) => {
            cargo(
                &["-p", "hioload-platform", "--example", "raw_echo"],
                Made::Optimised,
                &target(),
            )?;
            Ok(target().join("release/examples/raw_echo"))
        }
        Kind::Rust { feature, bin, .. } => {
            if !together {
                let manifest = manifest();
                let arguments = [
                    "--manifest-path",
                    &manifest,
                    "--features",
                    feature,
                    "--bin",
                    bin,
                ];
                cargo(&arguments, made, &target().join("peers"))?;
            }
            Ok(target().join("peers").join(made.folder()).join(bin))
        }
        Kind::Node => {
            packages()?;
            Ok(PathBuf::from("node"))
        }
        Kind::Bun => {
            packages()?;
            bun()
        }
    }
}

/// Builds all Rust peers at once, also those that are not asked for: the
/// features of their dependencies are joined, and a server is the same program
/// in every run. Whether it went well; where not, each is built by itself, which
/// shows the one that is to blame.
fn together(peers: &[Peer], made: Made) -> bool {
    let feature = |peer: &Peer| match peer.kind {
        Kind::Rust { feature, .. } => Some(feature),
        _ => None,
    };
    if !peers.iter().any(|peer| feature(peer).is_some()) {
        return false;
    }
    let mut features: Vec<&str> = catalog::all().iter().filter_map(feature).collect();
    features.dedup();
    let features = features.join(",");
    let manifest = manifest();
    let arguments = [
        "--manifest-path",
        &manifest,
        "--features",
        &features,
        "--bins",
    ];
    cargo(&arguments, made, &target().join("peers")).is_ok()
}

fn manifest() -> String {
    format!("{BENCHES}/peers/Cargo.toml")
}

/// A program of this workspace, unless the environment names another.
fn ours(variable: &str, package: &str) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    cargo(
        &["-p", package, "--bin", package],
        Made::Optimised,
        &target(),
    )?;
    Ok(target().join("release").join(package))
}

/// Where this workspace is built.
fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => folder.into(),
        None => Path::new(BENCHES).join("../target"),
    }
}

fn cargo(arguments: &[&str], made: Made, target: &Path) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(BENCHES).join(".."))
        .args(["build", "--profile", made.profile(), "--locked"])
        .arg("--target-dir")
        .arg(target)
        .args(arguments);
    done(
        &mut command,
        &format!("cargo build {}", arguments.join(" ")),
    )
}

/// What the lock file names, unless it is there already.
fn packages() -> Result<(), String> {
    let folder = Path::new(BENCHES).join("peers/js");
    if folder.join("node_modules/.package-lock.json").exists() {
        return Ok(());
    }
    let mut command = Command::new("npm");
    command.current_dir(&folder).args(["ci", "--no-progress"]);
    done(
        &mut command,
        "npm ci in benches/peers/js (it needs Node.js 18 with npm)",
    )
}

/// Bun itself: the package `bun` only chooses among those of its platforms, in
/// an install script, which is not run.
fn bun() -> Result<PathBuf, String> {
    let folder = Path::new(BENCHES).join("peers/js/node_modules/@oven");
    let folders = std::fs::read_dir(&folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let programs = folders.flatten().map(|entry| entry.path().join("bin/bun"));
    // On glibc npm installs one for musl as well, where it cannot tell.
    programs
        .filter(|path| path.exists() && !path.to_string_lossy().contains("musl"))
        .min()
        .ok_or_else(|| format!("there is no Bun for this machine in {}", folder.display()))
}

fn done(command: &mut Command, what: &str) -> Result<(), String> {
    // Standard output is for the tables.
    let status = command
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| format!("cannot start {what}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{what} failed; what it said is above"))
    }
}

//! What cannot be had is refused in one line with exit code 2, and nothing
//! starts: CPUs, shards, ports, descriptors.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, Uid};
use support::{Process, expect_refusal, run, server};

const ANY: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn with_any<'a>(args: &[&'a str]) -> Vec<&'a str> {
    ANY.iter().chain(args).copied().collect()
}

#[test]
fn a_wrong_list_of_cpus_is_named() {
    for (list, named) in [
        ("100000", "no CPU 100000"),
        ("1023", "CPU 1023 can not be used; this process may use"),
        ("0,0", "CPU 0 is in the list twice"),
        ("0-", "\"0-\" is neither"),
        ("3-1", "\"3-1\" ends before it begins"),
        ("a", "0-3,8"),
        ("0,,1", "neither"),
        ("", "lists no CPU"),
    ] {
        expect_refusal(&with_any(&["--cpus", list]), &[named]);
    }
}

/// The calling thread's CPUs go down to the lowest; its children inherit that.
fn use_only_the_lowest_cpu() -> usize {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("affinity can be read");
    let is_allowed = |&cpu: &usize| allowed.is_set(cpu).expect("below the count");
    let lowest = (0..CpuSet::count()).find(is_allowed).expect("a CPU");
    let mut set = CpuSet::new();
    set.set(lowest).expect("below the count");
    sched_setaffinity(this, &set).expect("a subset of what is allowed");
    lowest
}

#[test]
fn a_forbidden_cpu_is_refused_with_those_that_are_allowed() {
    let lowest = use_only_the_lowest_cpu();
    let forbidden = (lowest + 1).to_string();
    let allowed = format!("CPU {forbidden} can not be used; this process may use {lowest}");
    expect_refusal(&with_any(&["--cpus", &forbidden]), &[&allowed]);
    let ended = run(&["probe", "--cpus", &forbidden]);
    ended.expect_refusal(&[&allowed]);
}

#[test]
fn shards_that_cannot_be_are_refused() {
    let cpu = use_only_the_lowest_cpu().to_string();
    for (args, named) in [
        (
            &["--shards", "0"][..],
            &["--shards 0", "1 to 64", "leave"][..],
        ),
        (&["--shards", "65"], &["shards is 65", "at most 64"]),
        (
            &["--shards", "2", "--cpus", &cpu],
            &["2 shards", "the list of CPUs has 1"],
        ),
    ] {
        expect_refusal(&with_any(args), named);
    }
}

#[test]
fn zero_connections_are_refused() {
    expect_refusal(
        &with_any(&["--max-connections", "0"]),
        &["--max-connections 0"],
    );
}

/// The server where everybody may run it; gone after the test.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let name = format!("hioload-server-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::copy(env!("CARGO_BIN_EXE_hioload-server"), &path).expect("room for a copy");
        Self(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the copy is still there");
    }
}

#[test]
fn a_port_without_permission_is_named_with_what_to_do() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.map_or(1024, |text| text.trim().parse().expect("a port"));
    if !Uid::effective().is_root() || first <= 1 {
        println!("skipped: only root can give up the right to low ports, if there are any");
        return;
    }
    let nobody = 65534;
    let copy = Copy::new();
    let mut command = Command::new(&copy.0);
    let addr = format!("127.0.0.1:{}", first - 1);
    command.args(["--listen", &addr]).uid(nobody).gid(nobody);
    let ended = Process::spawn(command).wait();
    ended.expect_refusal(&[&addr, "permission denied", "CAP_NET_BIND_SERVICE"]);
}

/// The server with these limits on open files.
fn limited(soft: u32, hard: u32, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"");
    command
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_hioload-server")])
        .args(args);
    command
}

#[test]
fn more_connections_than_descriptors_are_refused_when_they_were_asked_for() {
    let args = with_any(&["--max-connections", "1000"]);
    let ended = Process::spawn(limited(300, 600, &args)).wait();
    ended.expect_refusal(&["max_connections = 1000", "1256", "600", "ulimit -Hn 1256"]);
}

/// The soft and the hard limit on open files of a process.
fn limits(process: &Process) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("running");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let mut words = line.expect("a limit").split_whitespace();
    [(); 2].map(|()| words.next().expect("two limits").to_owned())
}

#[test]
fn the_soft_limit_is_raised_to_what_is_needed_or_as_far_as_it_goes() {
    let args = with_any(&["--max-connections", "300"]);
    let enough = Process::spawn(limited(300, 600, &args));
    assert!(enough.line().starts_with("listening on "));
    assert_eq!(limits(&enough), ["600", "600"]);

    // Nobody said how many: it serves as many as it can, and says so once.
    let mut most = Process::spawn(limited(300, 600, &ANY));
    assert!(most.line().starts_with("listening on "));
    assert_eq!(limits(&most), ["600", "600"]);
    most.ask_to_stop();
    let ended = most.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let said = ended
        .stderr
        .lines()
        .filter(|line| line.contains("open files"));
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), 1, "{}", ended.stderr);
    assert!(
        said[0].contains("600") && said[0].contains("344"),
        "{}",
        said[0]
    );
}

#[test]
fn a_shard_runs_on_the_cpu_it_was_given() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("affinity can be read");
    let is_allowed = |&cpu: &usize| allowed.is_set(cpu).expect("below the count");
    let highest = (0..CpuSet::count()).rfind(is_allowed).expect("a CPU");
    let list = highest.to_string();
    let process = Process::spawn(server(&with_any(&["--cpus", &list])));
    assert!(process.line().starts_with("listening on "));
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).expect("running");
    let pinned = tasks.flatten().filter(|task| {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let allowed = format!("Cpus_allowed_list:\t{highest}\n");
        name.starts_with("shard-") && status.contains(&allowed)
    });
    assert_eq!(pinned.count(), 1, "one shard, on CPU {highest}");
}

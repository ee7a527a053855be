//! Becomes another program to which io_uring is forbidden, as under Docker's
//! default seccomp profile: `without_io_uring hioload-server --listen ...`.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
#[path = "../tests/support/seccomp.rs"]
mod seccomp;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::os::unix::process::CommandExt;

    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: without_io_uring PROGRAM [ARGUMENT...]");
        return std::process::ExitCode::from(2);
    };
    seccomp::forbid_io_uring();
    let error = std::process::Command::new(&program).args(args).exec();
    eprintln!("without_io_uring: {}: {error}", program.display());
    std::process::ExitCode::from(2)
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("without_io_uring: there is no io_uring on this system");
    std::process::ExitCode::from(2)
}

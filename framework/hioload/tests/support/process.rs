//! A program in a process of its own, which ends with its test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hioload_platform::signals;

use super::wait::{PATIENCE, until};

/// A process whose output is collected; killed when its test fails.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<()>>,
    log: Arc<Mutex<String>>,
}

/// How a process ended and what it had said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let (tell, lines) = channel();
        // Ends with the process, or when nobody listens any more.
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.map_while(|line| tell.send(line).ok()).for_each(drop);
        });
        let log: Arc<Mutex<String>> = Arc::default();
        let collected = Arc::clone(&log);
        let errors = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.expect("log lines are text");
                let mut log = collected.lock().expect("no panic");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            child,
            lines,
            errors: Some(errors),
            log,
        }
    }

    /// The next line on standard output.
    pub(crate) fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("a line on standard output")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn logged(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// Waits until it has logged this.
    pub(crate) fn wait_for_log(&self, text: &str) {
        until(text, || {
            let logged = self.logged();
            if logged.contains(text) {
                Ok(())
            } else {
                Err(logged)
            }
        });
    }

    /// As SIGHUP does.
    pub(crate) fn ask_to_reload(&self) {
        signals::ask_to_reload(self.id()).expect("the process is there");
    }

    /// As SIGTERM does.
    pub(crate) fn ask_to_stop(&self) {
        signals::ask_to_stop(self.id()).expect("the process is there");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> Ended {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().expect("a child");
            status.map(drop).ok_or("running")
        });
        let errors = self.errors.take().expect("waited for once");
        errors.join().expect("no panic");
        let stderr = self.logged();
        let stdout = self.lines.iter().collect();
        Ended {
            status: status.expect("ended"),
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a process that has ended, which is fine.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

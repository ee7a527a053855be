//! One process of a pair, told what to do and listened to by lines.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use crate::Failure;
use crate::machine::Usage;

/// What a process said, by the number it was started with. `None`: it has ended.
pub(crate) type Line = (usize, Option<String>);

/// Killed when dropped; it also ends by itself when its input ends.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
}

impl Process {
    /// This program in another role. What it says goes to `lines`; what it
    /// complains about, to where this one does.
    pub(crate) fn start(
        number: usize,
        arguments: &[String],
        lines: Sender<Line>,
    ) -> Result<Self, Failure> {
        let mut child = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        if let Some(output) = child.stdout.take() {
            // It ends with the process's output.
            thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    let Ok(line) = line else { break };
                    if lines.send((number, Some(line))).is_err() {
                        return;
                    }
                }
                let _nobody = lines.send((number, None));
            });
        }
        Ok(Self { child, input })
    }

    pub(crate) fn order(&mut self, order: &str) -> Result<(), Failure> {
        let Some(input) = &mut self.input else {
            return Err("the process was told to end".into());
        };
        writeln!(input, "{order}")?;
        Ok(input.flush()?)
    }

    /// No more orders: it ends.
    pub(crate) fn end(&mut self) {
        self.input = None;
    }

    pub(crate) fn usage(&self) -> Result<Usage, Failure> {
        Usage::of(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended by itself, which is what is wanted.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

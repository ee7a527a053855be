//! Starts the pairs, has them do the same things at the same time, and measures.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::machine::{Memory, Usage};
use crate::pair::Pair;
use crate::plan::Plan;
use crate::process::Line;
use crate::report::{Report, Step};
use crate::{Failure, Wanted};

/// How long idle connections are watched.
const IDLE: Duration = Duration::from_secs(5);

/// How often memory is looked at while something is waited for.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn run(wanted: &Wanted) -> Result<(), Failure> {
    let plan = Plan::new(wanted);
    let before = Memory::now()?;
    plan.check(before.available, wanted.keep_free << 20)?;
    let (sender, lines) = mpsc::channel();
    let mut run = Run {
        deadline: Instant::now() + wanted.within(),
        keep_free: wanted.keep_free << 20,
        pairs: Vec::new(),
        sender,
        lines,
    };
    println!(
        "{} connections of {} pairs of processes; {} MiB available",
        plan.connections(),
        plan.pairs.len(),
        before.available >> 20
    );
    let report = run.all(&plan, wanted.at_once as usize, before)?;
    print!("{report}");
    if let Some(path) = &wanted.record {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
        println!("written to {}", path.display());
    }
    Ok(())
}

/// Dropping it ends every process.
struct Run {
    deadline: Instant,
    keep_free: u64,
    pairs: Vec<Pair>,
    sender: Sender<Line>,
    lines: Receiver<Line>,
}

impl Run {
    fn all(&mut self, plan: &Plan, at_once: usize, before: Memory) -> Result<Report, Failure> {
        let began = Instant::now();
        let stopped_early = self.connect_all(plan, at_once)?;
        let connect = self.step(began, [Usage::default(); 2])?;
        let connected = Memory::now()?;
        let user = self.usage()?;
        let at_first = self.pairs.iter().map(|pair| pair.server_at_first);
        let server_at_first = at_first.fold(Usage::default(), Usage::plus);

        let began = Instant::now();
        self.stay_idle()?;
        let idle = self.step(began, user)?;
        let before_ping = self.usage()?;
        let began = Instant::now();
        self.order_clients("ping")?;
        self.wait_for("pinged", self.clients())?;
        let ping = self.step(began, before_ping)?;

        let before_broadcast = self.usage()?;
        let began = Instant::now();
        for pair in &mut self.pairs {
            pair.server.order("publish")?;
        }
        self.wait_for("heard", self.clients())?;
        let broadcast = self.step(began, before_broadcast)?;
        let after_broadcast = self.usage()?;

        let began = Instant::now();
        let before_close = self.usage()?;
        self.order_clients("close")?;
        self.wait_for("closed", self.clients())?;
        let close = self.step(began, before_close)?;
        self.end()?;
        Ok(Report {
            connections: self.connections(),
            wanted: plan.connections(),
            stopped_early,
            pairs: self.pairs.len(),
            before,
            connected,
            server_at_first,
            server: user[0],
            client: user[1],
            server_after_broadcast: after_broadcast[0],
            connect,
            idle,
            ping,
            broadcast,
            close,
        })
    }

    fn connections(&self) -> u64 {
        let each = self.pairs.iter().map(|pair| u64::from(pair.connections()));
        each.sum()
    }

    /// Numbers of all clients.
    fn clients(&self) -> HashSet<usize> {
        (0..self.pairs.len()).map(|pair| 2 * pair + 1).collect()
    }

    /// Why it stopped before all pairs were connected, if it did.
    fn connect_all(&mut self, plan: &Plan, at_once: usize) -> Result<Option<String>, Failure> {
        for wave in plan.pairs.chunks(at_once) {
            let available = Memory::now()?.available;
            if available < self.keep_free {
                let left = available >> 20;
                return Ok(Some(format!("only {left} MiB of memory were left")));
            }
            let first = self.pairs.len();
            for &connections in wave {
                let number = self.pairs.len();
                let pair = Pair::start(number, connections, self.sender.clone())?;
                self.pairs.push(pair);
            }
            let now = self.pairs.len();
            self.wait_for("ready", (first..now).map(|pair| 2 * pair).collect())?;
            self.wait_for("open", (first..now).map(|pair| 2 * pair + 1).collect())?;
            println!(
                "{} connections; {} MiB available",
                self.connections(),
                Memory::now()?.available >> 20
            );
        }
        Ok(None)
    }

    fn order_clients(&mut self, order: &str) -> Result<(), Failure> {
        for pair in &mut self.pairs {
            pair.order_client(order)?;
        }
        Ok(())
    }

    /// Waits until each of these processes has said a line that begins so.
    fn wait_for(&mut self, word: &str, mut from: HashSet<usize>) -> Result<(), Failure> {
        while !from.is_empty() {
            let Some((number, line)) = self.line(LOOK)? else {
                continue;
            };
            let line = line.ok_or_else(|| ended(number))?;
            let Some(rest) = line.strip_prefix(word) else {
                return Err(format!("{}: {line}", name(number)).into());
            };
            if word == "ready" {
                let port = rest.trim().parse()?;
                let sender = self.sender.clone();
                self.pairs[number / 2].connect(port, sender)?;
            }
            from.remove(&number);
        }
        Ok(())
    }

    /// The next line, if one comes in time; fails when time or memory run out.
    fn line(&self, patience: Duration) -> Result<Option<Line>, Failure> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => return Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("no process is left".into()),
        }
        if Instant::now() >= self.deadline {
            return Err("it took too long: --within more seconds".into());
        }
        // What a broadcast takes for a moment may come out of what stays free.
        let available = Memory::now()?.available;
        if available < self.keep_free / 2 {
            return Err(format!("only {} MiB of memory are left", available >> 20).into());
        }
        Ok(None)
    }

    /// Nothing happens for a while, and nobody says anything.
    fn stay_idle(&self) -> Result<(), Failure> {
        let until = Instant::now() + IDLE;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some((number, line)) = self.line(left)? {
                let line = line.ok_or_else(|| ended(number))?;
                return Err(format!("{}: {line}", name(number)).into());
            }
        }
        Ok(())
    }

    /// All processes end by themselves.
    fn end(&mut self) -> Result<(), Failure> {
        for pair in &mut self.pairs {
            pair.server.order("stop")?;
            pair.client.iter_mut().for_each(|client| client.end());
        }
        let mut left = 2 * self.pairs.len();
        while left > 0 {
            if let Some((_, None)) = self.line(LOOK)? {
                left -= 1;
            }
        }
        Ok(())
    }

    /// What servers and what clients use.
    fn usage(&self) -> Result<[Usage; 2], Failure> {
        let mut sums = [Usage::default(); 2];
        for pair in &self.pairs {
            sums[0] = sums[0].plus(pair.server.usage()?);
            if let Some(client) = &pair.client {
                sums[1] = sums[1].plus(client.usage()?);
            }
        }
        Ok(sums)
    }

    /// What it took since `began`, when servers and clients had used `before`.
    fn step(&self, began: Instant, before: [Usage; 2]) -> Result<Step, Failure> {
        let seconds = began.elapsed().as_secs_f64();
        let [server, client] = self.usage()?;
        Ok(Step::new(seconds, [server, client], before))
    }
}

fn name(number: usize) -> String {
    let role = if number.is_multiple_of(2) {
        "server"
    } else {
        "client"
    };
    format!("{role} {}", number / 2)
}

fn ended(number: usize) -> Failure {
    format!("{} has ended early", name(number)).into()
}

//! Options for runs that several processes share.

use clap::Args;

use crate::settings::Settings;

/// How many processes.
#[derive(Debug, Args)]
pub(super) struct Processes {
    /// Share connections and load among so many processes: the limit on open
    /// files (ulimit -Hn) is each process's own. --threads are those of all
    /// together, at least one each.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    processes: u16,
    /// One of these processes; which, standard input tells.
    #[arg(long, hide = true)]
    part: bool,
}

impl Processes {
    /// How many threads there have to be.
    pub(super) fn least_threads(&self) -> usize {
        usize::from(self.processes)
    }

    /// Has the run use the processes.
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        settings.processes = usize::from(self.processes);
        if self.processes > 1
            && let Some(why) = settings.load.in_one_process()
        {
            return Err(format!("--processes is not for this load: {why}"));
        }
        settings.is_part = self.part;
        let threads = settings.threads;
        if threads < settings.processes {
            return Err(format!(
                "--processes {} need a thread and a connection each, and there are {threads}",
                self.processes
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::tests::settings;
    use crate::settings::Part;

    #[test]
    fn processes_divide_the_threads_among_them() {
        let mut run = settings("echo --processes 3 --threads 8").unwrap();
        assert_eq!(run.own_threads(), 0..8);
        let threads = [0, 1, 2].map(|number| {
            run.part = Some(Part { number, of: 3 });
            run.own_threads()
        });
        assert_eq!(threads, [0..2, 2..5, 5..8]);
        assert!(settings("echo --processes 3").unwrap().threads >= 3);
    }

    #[test]
    fn what_one_process_has_to_see_is_not_shared() {
        for (load, why) in [
            ("chat", "who is in a room"),
            ("connect --reconnect", "outage"),
        ] {
            assert!(settings(&format!("{load} --processes 1")).is_ok());
            let refused = settings(&format!("{load} --processes 2 --threads 2")).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        for load in ["connect", "idle", "echo", "broadcast"] {
            let run = settings(&format!("{load} --processes 2 --threads 2"));
            assert!(run.is_ok(), "{load}: {run:?}");
        }
    }

    #[test]
    fn more_processes_than_threads_or_connections_are_refused() {
        for bad in [
            "--processes 0",
            "--processes 3 --threads 2",
            "--processes 3 --connections 2",
        ] {
            assert!(settings(&format!("echo {bad}")).is_err(), "{bad}");
        }
    }
}

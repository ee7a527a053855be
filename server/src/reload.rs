//! What SIGHUP changes: the file is read again, flags still override it.

use hioload::control::Fresh;

use crate::cli::Cli;
use crate::config::{Settings, SettingsError};
use crate::log::{self, Log};

/// What the server was started with.
pub(crate) struct Reload {
    pub(crate) cli: Cli,
    pub(crate) started: Settings,
    pub(crate) log: Log,
}

impl Reload {
    /// The configuration as the file is now.
    pub(crate) fn read(&self) -> Result<Fresh, SettingsError> {
        let settings = Settings::load(&self.cli)?;
        let fixed = self.started.fixed_differences(&settings);
        if !fixed.is_empty() {
            return Err(SettingsError::NeedsRestart {
                settings: fixed.join(", "),
            });
        }
        let filter = log::parse(&settings.log)?;
        let fresh = Fresh::new(settings.config);
        let before = self.log.filter();
        if before == settings.log {
            return Ok(fresh);
        }
        let (log, text) = (self.log.clone(), settings.log);
        Ok(fresh.change("log", before, text.clone(), move || {
            log.replace(text, filter);
        }))
    }
}

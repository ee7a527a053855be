//! What SIGHUP changes: the file is read again, flags still override it.

use hioload::control::Fresh;

use crate::chat::Rules;
use crate::cli::Cli;
use crate::config::{Changes, Settings, SettingsError};
use crate::log::{self, Log};

/// What the server was started with.
pub(crate) struct Reload {
    pub(crate) cli: Cli,
    pub(crate) started: Settings,
    pub(crate) log: Log,
    pub(crate) rules: Rules,
}

impl Reload {
    /// The configuration as the file is now.
    pub(crate) fn read(&self) -> Result<Fresh, SettingsError> {
        let settings = Settings::load(&self.cli)?;
        let Changes { live, fixed } = self.rules.latest().changes(&settings.chat);
        let mut fixed_names = self.started.fixed_differences(&settings);
        fixed_names.extend(fixed);
        let fixed = fixed_names;
        if !fixed.is_empty() {
            return Err(SettingsError::NeedsRestart {
                settings: fixed.join(", "),
            });
        }
        let filter = log::parse(&settings.log)?;
        let mut fresh = Fresh::new(settings.config);
        let mut follows = Some((self.rules.clone(), settings.chat));
        for change in live {
            // All of them at once, with the first.
            let follows = follows.take();
            fresh = fresh.change(change.field, change.from, change.to, move || {
                if let Some((rules, chat)) = follows {
                    rules.replace(&chat);
                }
            });
        }
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

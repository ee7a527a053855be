//! A new configuration for a server that runs.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, TryLockError};

use hioload_platform::limits::{self, LimitError};
use thiserror::Error as ThisError;

use super::Control;
use super::change::{Change, Difference, List};
use crate::config::Config;
use crate::error::{ConfigError, Fault};
use crate::tls::TlsError;

type Cause = Box<dyn Error + Send + Sync>;

/// A configuration that was read anew, with what its reader changes beside it
/// once nobody refuses: a log level, rate limits.
pub struct Fresh {
    config: Config,
    changes: Vec<Change>,
    agreed: Agreed,
}

impl Fresh {
    /// A configuration alone, which nothing else changes with. Checked when it
    /// is about to be taken.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            changes: Vec::new(),
            agreed: Agreed::as_it_is(),
        }
    }

    /// Adds a setting that is not in [`Config`]: `apply` is called once nobody
    /// refuses the reload, and never if somebody does. It is listed as
    /// `field`, from one value to the other.
    #[must_use]
    pub fn change(
        mut self,
        field: &'static str,
        from: impl Into<String>,
        to: impl Into<String>,
        apply: impl FnOnce() + Send + 'static,
    ) -> Self {
        self.changes.push(Change::new(field, from, to));
        let before = self.agreed;
        self.agreed = Agreed::then(move || {
            before.apply();
            apply();
        });
        self
    }
}

impl From<Config> for Fresh {
    fn from(config: Config) -> Self {
        Self::new(config)
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh")
            .field("config", &self.config)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

/// A hook's consent to a reload, and what it does once all others agree too.
#[must_use = "a reload goes on with it"]
pub struct Agreed(Option<Box<dyn FnOnce() + Send>>);

impl Agreed {
    /// There is nothing to do.
    pub fn as_it_is() -> Self {
        Self(None)
    }

    /// Calls `apply`, which can not fail, when all have agreed.
    pub fn then(apply: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(apply)))
    }

    fn apply(self) {
        if let Some(apply) = self.0 {
            apply();
        }
    }
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Agreed").field(&self.0.is_some()).finish()
    }
}

/// Asked before a reload: the configuration in force and the next one.
#[derive(Clone)]
pub(crate) struct Hook(Arc<HookFn>);

type HookFn = dyn Fn(&Config, &Config) -> Result<Agreed, Cause> + Send + Sync;

impl Hook {
    pub(crate) fn new<H, E>(hook: H) -> Self
    where
        H: Fn(&Config, &Config) -> Result<Agreed, E> + Send + Sync + 'static,
        E: Into<Cause>,
    {
        Self(Arc::new(move |old: &_, new: &_| {
            hook(old, new).map_err(Into::into)
        }))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// Where a configuration is read from.
#[derive(Clone)]
pub(crate) struct Source(Arc<dyn Fn() -> Result<Fresh, Cause> + Send + Sync>);

impl Source {
    pub(crate) fn new<S, C, E>(source: S) -> Self
    where
        S: Fn() -> Result<C, E> + Send + Sync + 'static,
        C: Into<Fresh>,
        E: Into<Cause>,
    {
        Self(Arc::new(move || {
            source().map(Into::into).map_err(Into::into)
        }))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The settings that differ.
    pub changes: Vec<Change>,
    /// Sets of certificates that were read again.
    pub certificates: usize,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            f.write_str("no setting has changed")
        } else {
            List(&self.changes).fmt(f)
        }
    }
}

/// A reload was refused. Everything is as it was.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ReloadError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// These settings can not change while the server runs; the rest was not
    /// changed either.
    #[error("{}: needs a restart", List(.0))]
    NeedsRestart(Vec<Change>),
    /// The connections asked for need more descriptors than this process may
    /// open.
    #[error(
        "max_connections = {connections} needs {needed} open files, and the hard limit is {now}"
    )]
    Descriptors {
        /// The connections asked for.
        connections: usize,
        /// The descriptors they need.
        needed: u64,
        /// The descriptors allowed at most.
        now: u64,
    },
    /// The configuration could not be read.
    #[error("the configuration cannot be read: {0}")]
    Source(#[source] Cause),
    /// A certificate or its key is not usable.
    #[error(transparent)]
    Certificates(#[from] TlsError),
    /// A hook does not want it.
    #[error("refused by a hook: {0}")]
    Vetoed(#[source] Cause),
    /// Another reload has not ended yet, or this is called by a hook.
    #[error("another reload is going on")]
    Busy,
}

impl ReloadError {
    /// Who can do something about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Config(_) | Self::NeedsRestart(_) | Self::Source(_) | Self::Certificates(_) => {
                Fault::Config
            }
            Self::Descriptors { .. } => Fault::System,
            Self::Vetoed(_) | Self::Busy => Fault::App,
        }
    }
}

impl Control {
    /// Replaces the configuration.
    pub(crate) fn reload(&self, fresh: Fresh) -> Result<Reloaded, ReloadError> {
        self.alone(|| self.agree(fresh, false))
    }

    /// Reads configuration and certificates again.
    pub(crate) fn reread(&self) -> Result<Reloaded, ReloadError> {
        self.alone(|| {
            let fresh = match &self.terms.source {
                Some(source) => source.0().map_err(ReloadError::Source)?,
                None => Fresh::new((*self.config()).clone()),
            };
            self.agree(fresh, true)
        })
    }

    fn alone(
        &self,
        reload: impl FnOnce() -> Result<Reloaded, ReloadError>,
    ) -> Result<Reloaded, ReloadError> {
        let _alone = match self.reloading.try_lock() {
            Ok(alone) => alone,
            // A hook panicked before anything had changed.
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(ReloadError::Busy),
        };
        reload()
    }

    /// Asks all who may refuse, then changes everything.
    fn agree(&self, fresh: Fresh, certificates: bool) -> Result<Reloaded, ReloadError> {
        let Fresh {
            config,
            mut changes,
            agreed,
        } = fresh;
        config.check()?;
        let old = self.config();
        let difference = Difference::between(&old, &config, self.capacity);
        if !difference.fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(difference.fixed));
        }
        check_descriptors(&old, &config)?;
        let sets: &[_] = if certificates {
            &self.terms.certificates
        } else {
            &[]
        };
        let read: Vec<_> = sets
            .iter()
            .map(|set| set.read())
            .collect::<Result<_, _>>()?;
        let mut all = vec![agreed];
        for hook in &self.terms.hooks {
            all.push(hook.0(&old, &config).map_err(ReloadError::Vetoed)?);
        }
        // From here on nothing is refused.
        self.replace(config);
        for (set, fresh) in sets.iter().zip(read) {
            set.replace(fresh);
        }
        all.into_iter().for_each(Agreed::apply);
        changes.extend(difference.live);
        Ok(Reloaded {
            changes,
            certificates: sets.len(),
        })
    }
}

/// A number of connections is a promise, as at the start.
fn check_descriptors(old: &Config, new: &Config) -> Result<(), ReloadError> {
    let (before, connections) = (old.max_connections, new.max_connections);
    if connections == before || connections == 0 {
        return Ok(());
    }
    match limits::raise_nofile(new.descriptors()) {
        Err(LimitError::TooLow { needed, now }) => Err(ReloadError::Descriptors {
            connections,
            needed,
            now,
        }),
        // Any other failure leaves the limit as it was, which served so far.
        Ok(_) | Err(_) => Ok(()),
    }
}

//! The log, and its level while the server runs.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::SettingsError;

/// Something that takes spans and events.
pub(crate) type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The running log. Clones are the same.
#[derive(Clone)]
pub(crate) struct Log {
    level: reload::Handle<EnvFilter, Registry>,
    /// As it was written.
    filter: Arc<Mutex<String>>,
}

impl Log {
    /// Starts to log, to standard error; `spans` has a filter of its own.
    pub(crate) fn start(filter: &str, spans: Option<AnyLayer>) -> Result<Self, SettingsError> {
        let (level, handle) = reload::Layer::new(parse(filter)?);
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(level)
            .boxed();
        let layers: Vec<AnyLayer> = spans.into_iter().chain([lines]).collect();
        tracing_subscriber::registry().with(layers).init();
        Ok(Self {
            level: handle,
            filter: Arc::new(Mutex::new(filter.to_owned())),
        })
    }

    /// The filter in force.
    pub(crate) fn filter(&self) -> String {
        let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        filter.clone()
    }

    /// Replaces the filter by one that [`parse`] has read.
    pub(crate) fn replace(&self, text: String, filter: EnvFilter) {
        if self.level.reload(filter).is_ok() {
            *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }
}

pub(crate) fn parse(filter: &str) -> Result<EnvFilter, SettingsError> {
    EnvFilter::try_new(filter).map_err(|error| SettingsError::Log {
        filter: filter.to_owned(),
        cause: error.to_string(),
    })
}

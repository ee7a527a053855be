//! What a server reloads while it runs.

use std::error::Error;

use super::{Handle, Server};
use crate::config::Config;
use crate::control::{Agreed, Control, Fresh, Hook, Source, Terms};
use crate::hub::HashSeed;
use crate::shard::Inbox;

impl Server {
    /// Where the configuration is read from when SIGHUP comes under
    /// [`run`](Self::run), and by [`Handle::reread`](crate::Handle::reread):
    /// a file, usually. Called on another thread than the shards'.
    ///
    /// It returns a [`Config`], or a [`Fresh`] that changes more than that.
    ///
    /// ```
    /// use hioload::{Config, Server};
    ///
    /// let server = Server::bind("127.0.0.1:0").reload_from(|| {
    ///     let limit = std::fs::read_to_string("limit.txt")?;
    ///     let max_message = limit.trim().parse().map_err(std::io::Error::other)?;
    ///     Ok::<_, std::io::Error>(Config { max_message, ..Config::default() })
    /// });
    /// ```
    #[must_use]
    pub fn reload_from<S, C, E>(mut self, source: S) -> Self
    where
        S: Fn() -> Result<C, E> + Send + Sync + 'static,
        C: Into<Fresh>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.terms.source = Some(Source::new(source));
        self
    }

    /// Asked before each reload with the configuration in force and the next
    /// one, in the order added. An error refuses the reload: nothing changes.
    /// What a hook changes itself belongs into [`Agreed::then`], which is
    /// called when nobody has refused.
    ///
    /// Called on the thread that reloads. A reload asked for by a hook is
    /// refused.
    #[must_use]
    pub fn on_reload<H, E>(mut self, hook: H) -> Self
    where
        H: Fn(&Config, &Config) -> Result<Agreed, E> + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.terms.hooks.push(Hook::new(hook));
        self
    }

    /// The handle of a server that is about to start.
    pub(super) fn handle(&self, shards: usize) -> Handle {
        let terms = Terms {
            certificates: self.certificates(),
            ..self.terms.clone()
        };
        let control = Control::new(&self.config, shards, terms);
        let seed = HashSeed::random();
        Handle::new(shards, &self.hubs, &seed, Inbox::ROOM, control)
    }

    /// Whether SIGHUP has something to do.
    pub(super) fn can_reload(&self) -> bool {
        let terms = &self.terms;
        !self.certificates().is_empty() || terms.source.is_some() || !terms.hooks.is_empty()
    }
}

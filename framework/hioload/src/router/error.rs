//! Mistakes made while a router is built.

use thiserror::Error;

/// A route that cannot be served as it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A path does not begin with a slash, or holds a byte that no path has.
    #[error(
        "the route {route:?}: a path begins with / and has only visible ASCII, without ? and #; \
         percent-encode the rest"
    )]
    Path {
        /// The whole path.
        route: String,
    },
    /// A parameter has no name, a name beside letters, digits and `_`, or the
    /// name of another one.
    #[error(
        "the route {route:?}: the parameter {segment:?} needs a name of its own, \
         of letters, digits and _"
    )]
    Param {
        /// The whole path.
        route: String,
        /// The segment.
        segment: String,
    },
    /// A wildcard is not the last segment.
    #[error("the route {route:?}: {segment:?} takes the rest of the path, so it must be last")]
    Wildcard {
        /// The whole path.
        route: String,
        /// The segment.
        segment: String,
    },
    /// Two routes would take the same path.
    #[error("the route {route:?} conflicts with {with:?}")]
    Conflict {
        /// The later route.
        route: String,
        /// The earlier one.
        with: String,
    },
    /// A method, or WebSockets, are registered twice on a path.
    #[error("the route {route:?} has {what} already")]
    Twice {
        /// The whole path.
        route: String,
        /// The method, or `WebSockets`.
        what: &'static str,
    },
    /// The prefix of a group.
    #[error("the group {prefix:?}: a prefix begins with / and does not end with it")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// Middleware comes after routes it would not guard.
    #[error("the group {group:?}: middleware must be registered before the group's first route")]
    LateLayer {
        /// The group's prefix; empty for the router itself.
        group: String,
    },
    /// A router is mounted on WebSockets of another.
    #[error("the route {route:?}: a router cannot be mounted in a router; use a group")]
    Nested {
        /// The whole path.
        route: String,
    },
    /// A mounted app refused to start; see [`App::check`](crate::App::check).
    #[error("the route {route:?}: {reason}")]
    App {
        /// The whole path.
        route: String,
        /// What it said.
        reason: String,
    },
}

//! The middleware that comes with the router.

mod accounts;
mod bucket;
mod connections;
mod logging;
mod metrics;
mod origin;
mod rate;
mod recovery;

pub use bucket::Rate;
pub use connections::ConnectionLimit;
pub use logging::Logging;
pub use metrics::RouteMetrics;
pub use origin::OriginCheck;
pub use rate::{Excess, RateLimit};
pub use recovery::Recovery;

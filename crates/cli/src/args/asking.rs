//! Arguments of the subcommands that ask the console.

use clap::Args as ClapArgs;

use super::Output;
use crate::console_client::Reach;
use crate::when::{Length, Moment};

/// `varka metrics`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Metrics {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The question, such as 'sum(rate(istio_requests_total[1m])) by (response_code)'.
    #[arg(value_name = "QUERY")]
    pub(crate) query: String,
    /// At this time, or, with --since, up to it: 2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Moment>,
    /// Over this long, not only at one time.
    #[arg(long, value_name = "LENGTH")]
    pub(crate) since: Option<Length>,
    /// A value each so long [default: a sixtieth of --since].
    #[arg(long, value_name = "LENGTH", requires = "since")]
    pub(crate) step: Option<Length>,
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

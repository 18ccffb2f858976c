//! Arguments of the subcommands that ask the console.

use std::num::NonZeroUsize;

use clap::{Args as ClapArgs, ValueEnum};

use super::Output;
use crate::console_client::Reach;
use crate::when::{Length, Moment};

/// What a node of the graph is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub(crate) enum GraphType {
    /// Workloads.
    Workload,
    /// Applications.
    App,
    /// Versions of applications.
    VersionedApp,
    /// Services.
    Service,
}

impl GraphType {
    /// As the console calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::App => "app",
            Self::VersionedApp => "versionedApp",
            Self::Service => "service",
        }
    }
}

/// Which part of the graph is meant.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Seen {
    /// Namespaces, with commas between [default: all].
    #[arg(long, short, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) namespace: Vec<String>,
    /// What a node stands for.
    #[arg(long = "type", short = 't', value_enum, default_value_t = GraphType::Workload)]
    pub(crate) graph_type: GraphType,
    /// Over how long the numbers are means.
    #[arg(long, short, value_name = "LENGTH", default_value = "60s")]
    pub(crate) duration: Length,
}

/// Form of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphOutput {
    /// A line for each edge.
    Text,
    /// From where requests come in to where they end.
    Tree,
    /// As the console answers.
    Json,
}

/// `varka graph`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Graph {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) seen: Seen,
    /// As it was then: 2026-01-31T12:00:00Z, seconds since 1970, or 10m for ten minutes ago [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Moment>,
    /// Also what has no traffic.
    #[arg(long)]
    pub(crate) idle: bool,
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t = GraphOutput::Text)]
    pub(crate) output: GraphOutput,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// What has the most traffic.
    Rate,
    /// What fails most.
    Errors,
    /// What takes longest.
    Latency,
}

/// `varka top`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "Keys: q ends it; n shows nodes, e edges; r orders by rate, x by errors, l by latency.")]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) seen: Seen,
    /// Show edges: who talks to whom.
    #[arg(long, short)]
    pub(crate) edges: bool,
    /// What comes first.
    #[arg(long, short, value_enum, default_value_t = Order::Rate)]
    pub(crate) sort: Order,
    /// Show it once and end, as where the output is no terminal.
    #[arg(long)]
    pub(crate) once: bool,
}

/// `varka trace`.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = clap::ArgGroup::new("which").args(["id", "service"]).required(true))]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Id of the trace; none: traces of a service are listed.
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// List traces of this service, the newest first, such as was.blog-system.
    #[arg(long, short)]
    pub(crate) service: Option<String>,
    /// List the slowest first.
    #[arg(long, requires = "service")]
    pub(crate) slowest: bool,
    /// List only traces with an error.
    #[arg(long, requires = "service")]
    pub(crate) errors: bool,
    /// Look back so far.
    #[arg(long, value_name = "LENGTH", default_value = "1h")]
    pub(crate) since: Length,
    /// List so many.
    #[arg(long, value_name = "N", default_value = "20")]
    pub(crate) limit: NonZeroUsize,
    /// Show what every span says of itself.
    #[arg(long)]
    pub(crate) tags: bool,
    /// Form of the answer.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// `varka logs`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The workload, with its namespace where several have that name.
    #[arg(value_name = "WORKLOAD[.NAMESPACE]")]
    pub(crate) workload: String,
    /// Go on with lines as they come.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Lines of so long ago and newer [default: of any time].
    #[arg(long, value_name = "LENGTH")]
    pub(crate) since: Option<Length>,
    /// So many lines before now, 5000 at most.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(crate) tail: u16,
    /// Only of these containers, with commas between; the sidecar is istio-proxy [default: all].
    #[arg(long, short, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) container: Vec<String>,
    /// Form of the answer; as JSON: one object a line.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

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

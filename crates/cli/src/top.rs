//! `varka top`: what has the most traffic, errors or latency, as it changes.
//!
//! The numbers are the graph's, told by the console's stream every second. On a terminal the table fills the screen until `q`;
//! elsewhere it is printed once.

mod screen;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::{Order, Top as Args};
use crate::console_client::{Console, Events, block_on};
use crate::graph::{Edge, Picture, asked};
use crate::text::{Side, cut, millis, percent, rate, table};
use crate::when::written;
use screen::{Screen, keys};

/// What is shown, and how.
#[derive(Debug, Clone, Copy)]
struct View {
    edges: bool,
    order: Order,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let console = Console::find(&args.reach).await?;
        let mut query = asked(&args.seen);
        query.push(("topics", "graph".to_owned()));
        let pairs: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let events = console.stream(&pairs).await?;
        let view = View { edges: args.edges, order: args.sort };
        if args.once || !std::io::stdout().is_terminal() {
            once(events, view).await
        } else {
            live(&console, &pairs, events, view).await
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn once(mut events: Events, view: View) -> anyhow::Result<()> {
    let mut picture = Picture::default();
    next(&mut events, &mut picture)
        .await?
        .then_some(())
        .context("the console ended its stream before it told anything")?;
    std::io::stdout().write_all(render(&picture, view).as_bytes())?;
    Ok(())
}

/// Takes the next change of the graph; `false`: there will be none.
async fn next(events: &mut Events, picture: &mut Picture) -> anyhow::Result<bool> {
    while let Some((topic, data)) = events.next().await? {
        if topic == "graph" {
            picture.patch(&data)?;
            return Ok(true);
        }
    }
    Ok(false)
}

async fn live(console: &Console, query: &[(&str, &str)], events: Events, mut view: View) -> anyhow::Result<()> {
    let (mut picture, mut events, mut told, mut keyed) = (Picture::default(), Some(events), String::new(), true);
    let mut ends = ends()?;
    let mut resized = signal(SignalKind::window_change())?;
    let screen = Screen::take()?;
    let mut keys = keys();
    loop {
        tokio::select! {
            done = advance(console, query, &mut events, &mut picture) => {
                told = done.err().map(|problem| format!("{problem:#}")).unwrap_or_default();
            }
            key = keys.recv(), if keyed => match key {
                None => keyed = false,
                Some(key) => match pressed(key, view) {
                    Some(changed) => view = changed,
                    None => return Ok(()),
                },
            },
            _ = resized.recv() => {}
            _ = ends.recv() => return Ok(()),
        }
        let status =
            if told.is_empty() { "q quits   n nodes   e edges   r rate   x errors   l latency" } else { &told };
        screen.draw(&render(&picture, view), status)?;
    }
}

/// Waits for the next change; where the stream has ended, for another, but not at once.
async fn advance(
    console: &Console,
    query: &[(&str, &str)],
    events: &mut Option<Events>,
    picture: &mut Picture,
) -> anyhow::Result<()> {
    const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);
    let Some(open) = events else {
        tokio::time::sleep(PAUSE).await;
        *events = Some(console.stream(query).await?);
        return Ok(());
    };
    match next(open, picture).await {
        Ok(true) => Ok(()),
        ended => {
            *events = None;
            ended?;
            bail!("the console ended its stream; trying again")
        }
    }
}

/// Told when something wants the program to end.
fn ends() -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        let (mut signal, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            signal.recv().await;
            // It ends only once.
            let _ = sender.send(()).await;
        });
    }
    Ok(receiver)
}

/// What a key changes; `None`: it ends.
fn pressed(key: u8, view: View) -> Option<View> {
    const CONTROL_C: u8 = 3;
    Some(match key {
        b'q' | b'Q' | CONTROL_C => return None,
        b'n' => View { edges: false, ..view },
        b'e' => View { edges: true, ..view },
        b'r' => View { order: Order::Rate, ..view },
        b'x' => View { order: Order::Errors, ..view },
        b'l' => View { order: Order::Latency, ..view },
        _ => view,
    })
}

/// One line of the table.
#[derive(Debug, Default)]
struct Row {
    names: Vec<String>,
    /// Requests a second, and how many of them fail.
    requests: f64,
    failing: f64,
    /// Milliseconds: half, 95 and 99 of 100 requests take no longer.
    times: Option<[f64; 3]>,
    /// What is no requests: bytes of TCP, messages.
    beside: Vec<String>,
    health: String,
}

impl Row {
    fn take(&mut self, edge: &Edge) {
        match edge.requests() {
            Some(requests) => {
                self.requests += requests;
                self.failing += edge.failing();
            }
            None => self.beside.push(edge.rate()),
        }
        if let Some(times) = edge.times() {
            let slowest = self.times.unwrap_or_default();
            self.times = Some([times.p50.max(slowest[0]), times.p95.max(slowest[1]), times.p99.max(slowest[2])]);
        }
    }

    fn share(&self) -> f64 {
        if self.requests > 0.0 { self.failing / self.requests } else { 0.0 }
    }

    fn cells(&self) -> Vec<String> {
        let time = |place: usize| self.times.and_then(|times| times.get(place).copied()).map_or("-".to_owned(), millis);
        let mut cells = self.names.clone();
        let requests = (self.requests > 0.0 || self.beside.is_empty()).then(|| rate(self.requests));
        cells.push(requests.into_iter().chain(self.beside.iter().cloned()).collect::<Vec<_>>().join(" + "));
        cells.push(if self.requests > 0.0 { percent(self.share()) } else { "-".to_owned() });
        cells.extend([time(0), time(1), time(2), self.health.clone()]);
        cells
    }
}

/// The table. Of a node: what it gets, with the times of the slowest of its clients.
fn render(picture: &Picture, view: View) -> String {
    let mut rows: Vec<Row> = if view.edges { edges(picture) } else { nodes(picture) };
    let key = |row: &Row| match view.order {
        Order::Rate => (row.requests, row.failing),
        Order::Errors => (row.failing, row.share()),
        Order::Latency => (row.times.map_or(0.0, |times| times[1]), row.requests),
    };
    rows.sort_by(|a, b| {
        let ((a1, a2), (b1, b2)) = (key(a), key(b));
        b1.total_cmp(&a1).then(b2.total_cmp(&a2)).then_with(|| a.names.cmp(&b.names))
    });
    let names: &[&str] = if view.edges { &["FROM", "TO", "PROTOCOL"] } else { &["NAME"] };
    let title = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let head = [title(names), title(&["RATE", "ERRORS", "P50", "P95", "P99", "HEALTH"])].concat();
    let mut sides = vec![Side::Left; names.len()];
    sides.extend([Side::Right, Side::Right, Side::Right, Side::Right, Side::Right, Side::Left]);
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let order = match view.order {
        Order::Rate => "rate",
        Order::Errors => "errors",
        Order::Latency => "latency",
    };
    let until = written(picture.timestamp.saturating_mul(1_000_000), 0);
    format!("means over {} s, until {until}, by {order}\n\n{}", picture.duration, table(&sides, &lines))
}

fn edges(picture: &Picture) -> Vec<Row> {
    let row = |edge: &Edge| {
        let names = vec![picture.title(&edge.source), picture.title(&edge.target), edge.protocol.clone()];
        let mut row = Row { names, health: edge.health(), ..Row::default() };
        row.take(edge);
        row
    };
    picture.edges.values().map(row).collect()
}

fn nodes(picture: &Picture) -> Vec<Row> {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for edge in picture.edges.values() {
        let Some(node) = picture.nodes.get(&edge.target) else { continue };
        let new = || Row { names: vec![node.title()], health: node.health(), ..Row::default() };
        rows.entry(&edge.target).or_insert_with(new).take(edge);
    }
    rows.into_values().collect()
}

/// As much of a table as a screen has room for, its last line left for something else.
fn fit(text: &str, columns: usize, rows: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1);
    let mut shown: Vec<String> = lines.iter().take(room).map(|line| cut(line, columns)).collect();
    if lines.len() > room
        && let Some(last) = shown.last_mut()
    {
        *last = cut(&format!("… {} more", lines.len() - room + 1), columns);
    }
    shown
}

#[cfg(test)]
mod tests;

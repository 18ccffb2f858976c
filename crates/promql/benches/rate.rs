//! What a dashboard's most frequent query costs: `sum by (job) (rate(requests_total[5m]))` over 5,000 series with an hour of samples,
//! one every 15 seconds. Run with `cargo bench -p varka-promql`.
//!
//! What is printed is the thread's time on a processor, so that what else the machine does counts little.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark asks the system for the time and prints"
)]

use varka_promql::storage::{FloatSample, Memory, Samples};
use varka_promql::{Labels, Options, Times};

const SERIES: i64 = 5_000;
const HOUR: i64 = 3_600_000;
const INTERVAL: i64 = 15_000;

/// The time that this thread has been on a processor, in milliseconds.
fn on_processor() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds: f64 = statistics.split(' ').next().and_then(|first| first.parse().ok()).expect("a number");
    nanoseconds / 1e6
}

fn main() {
    let mut memory = Memory::default();
    for series in 0..SERIES {
        let sample =
            |index: i64| FloatSample { time: index * INTERVAL, start: 0, value: (index * (series % 100)) as f64 };
        let samples = Samples { floats: (0..=HOUR / INTERVAL).map(sample).collect(), histograms: Vec::new() };
        let (job, instance) = (format!("job-{}", series % 50), format!("instance-{series}"));
        let labels = [("__name__", "requests_total"), ("job", &job), ("instance", &instance), ("code", "200")];
        memory.append(labels.into_iter().collect::<Labels>(), samples);
    }
    let range = Times::Range { start: 0, end: HOUR, step: INTERVAL };
    let queries = [
        ("instant", "sum by (job) (rate(requests_total[5m]))", Times::Instant(HOUR)),
        ("range", "sum by (job) (rate(requests_total[5m]))", range),
        ("range", "requests_total", range),
        ("range", "max by (job) (max_over_time(requests_total[5m]))", range),
        ("range", "requests_total / on (instance) requests_total", range),
        ("range", "topk(5, rate(requests_total[5m]))", range),
    ];
    for (kind, query, times) in queries {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = on_processor();
            let answer = varka_promql::query(query, times, &memory, &Options::default());
            best = best.min(on_processor() - start);
            assert!(answer.is_ok(), "{query}");
        }
        println!("{kind:8} {:8.1} ms  {query}", best);
    }
}

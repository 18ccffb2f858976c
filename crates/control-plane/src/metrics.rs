//! What the control plane counts, under the names that Istio's dashboards ask for.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the convergence histogram, in seconds.
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Durations by size.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    microseconds: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            if took.as_secs_f64() <= bound {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }
}

/// Resource types by the short names of Istio's labels; the order of [`Metrics::pushes`] and [`Metrics::rejects`].
pub(crate) const TYPES: [&str; 7] = ["lds", "rds", "cds", "eds", "sds", "vhds", "wds"];

/// All numbers.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connected: Gauge,
    pub(crate) pushes: [Counter; TYPES.len()],
    pub(crate) rejects: [Counter; TYPES.len()],
    pub(crate) convergence: Histogram,
    pub(crate) snapshots: Counter,
    pub(crate) compiled: Counter,
    pub(crate) csr_requests: Counter,
    pub(crate) csr_issued: Counter,
    pub(crate) csr_refused: Counter,
    pub(crate) csr_authentication_failures: Counter,
    pub(crate) root_expiry: Gauge,
    pub(crate) injected: Counter,
    pub(crate) injection_skipped: Counter,
    pub(crate) injection_failed: Counter,
    pub(crate) validation_passed: Counter,
    pub(crate) validation_failed: Counter,
}

impl Metrics {
    /// Notes when the root certificate ends.
    pub(crate) fn set_root_expiry(&self, at: SystemTime) {
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.root_expiry.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Prometheus' text format, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        gauge(&mut out, "pilot_xds", "Proxies connected to this control plane.", self.connected.get());
        by_type(&mut out, "pilot_xds_pushes", "Resources sent to proxies, by type.", &self.pushes);
        by_type(&mut out, "pilot_total_xds_rejects", "Responses that a proxy rejected, by type.", &self.rejects);
        self.render_convergence(&mut out);
        gauge(
            &mut out,
            "citadel_server_root_cert_expiry_timestamp",
            "When the root certificate ends, in seconds since 1970.",
            self.root_expiry.get(),
        );
        for (name, help, counter) in [
            ("pilot_push_triggers", "Snapshots made from changed resources.", &self.snapshots),
            ("pilot_resources_compiled", "Resources compiled for a proxy.", &self.compiled),
            ("citadel_server_csr_count", "Certificate requests received.", &self.csr_requests),
            ("citadel_server_success_cert_issuance_count", "Certificates issued.", &self.csr_issued),
            ("citadel_server_csr_sign_err_count", "Certificate requests refused for what they ask.", &self.csr_refused),
            (
                "citadel_server_authentication_failure_count",
                "Certificate requests refused for who asks.",
                &self.csr_authentication_failures,
            ),
            ("sidecar_injection_success_total", "Pods that got a sidecar.", &self.injected),
            ("sidecar_injection_skip_total", "Pods left alone.", &self.injection_skipped),
            ("sidecar_injection_failure_total", "Pods refused.", &self.injection_failed),
            ("galley_validation_passed", "Resources found valid.", &self.validation_passed),
            ("galley_validation_failed", "Resources refused.", &self.validation_failed),
        ] {
            header(&mut out, name, help, "counter");
            let _ = writeln!(out, "{name} {}", counter.get());
        }
        header(&mut out, "istio_build", "What runs.", "gauge");
        let _ = writeln!(out, "istio_build{{component=\"pilot\",tag=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        crate::process::render(&mut out);
        out
    }

    fn render_convergence(&self, out: &mut String) {
        let name = "pilot_proxy_convergence_time";
        header(out, name, "Seconds from a changed resource to the proxy's acknowledgement.", "histogram");
        let count = self.convergence.count.load(Ordering::Relaxed);
        for (bucket, bound) in self.convergence.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {}", bucket.load(Ordering::Relaxed));
        }
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let sum = Duration::from_micros(self.convergence.microseconds.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}_sum {}", sum.as_secs_f64());
        let _ = writeln!(out, "{name}_count {count}");
    }
}

// Writing to a string cannot fail; the results below are of no use.

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn gauge(out: &mut String, name: &str, help: &str, value: i64) {
    header(out, name, help, "gauge");
    let _ = writeln!(out, "{name} {value}");
}

fn by_type(out: &mut String, name: &str, help: &str, counters: &[Counter; TYPES.len()]) {
    header(out, name, help, "counter");
    for (kind, counter) in TYPES.iter().zip(counters) {
        let _ = writeln!(out, "{name}{{type=\"{kind}\"}} {}", counter.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form() {
        let metrics = Metrics::default();
        metrics.pushes[3].add(2);
        metrics.convergence.observe(Duration::from_millis(20));
        let text = metrics.render();
        assert!(text.contains("\npilot_xds_pushes{type=\"eds\"} 2\n"), "{text}");
        assert!(text.contains("\npilot_proxy_convergence_time_bucket{le=\"0.01\"} 0\n"), "{text}");
        assert!(text.contains("\npilot_proxy_convergence_time_bucket{le=\"0.025\"} 1\n"), "{text}");
        assert!(text.contains("\npilot_proxy_convergence_time_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("\npilot_proxy_convergence_time_sum 0.02\n"), "{text}");
    }
}

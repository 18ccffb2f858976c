//! What this process takes of the machine, as Prometheus' clients tell of it.

use std::fmt::Write as _;

/// Ticks of a second in `/proc`, which is the same on every Linux.
const TICKS: f64 = 100.0;

/// `process_cpu_seconds_total` and `process_resident_memory_bytes`; what cannot be read is left out.
pub(crate) fn render(out: &mut String) {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    // Writing to a string cannot fail; the results below are of no use.
    if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
        let name = "process_cpu_seconds_total";
        let _ = writeln!(out, "# HELP {name} Processor time that was used, in seconds.\n# TYPE {name} counter");
        let _ = writeln!(out, "{name} {seconds}");
    }
    if let Some(bytes) = resident_bytes(&read("/proc/self/status")) {
        let name = "process_resident_memory_bytes";
        let _ = writeln!(out, "# HELP {name} Memory that is held, in bytes.\n# TYPE {name} gauge");
        let _ = writeln!(out, "{name} {bytes}");
    }
}

/// Of user and system; the name of the program, which may hold spaces, ends with the last parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!((cpu_seconds("7 x"), resident_bytes("")), (None, None));
        let mut out = String::new();
        render(&mut out);
        assert!(out.contains("\nprocess_resident_memory_bytes "), "{out}");
    }
}

//! Counts, shares and times as a real Envoy showed them.

use proptest::prelude::*;

use super::*;

fn config() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: 5,
        consecutive_gateway: 0,
        split_local_origin: false,
        consecutive_local: 0,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        max_ejection_percent: 50,
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn five_in_a_row() {
    let monitor = Monitor::default();
    let all: Vec<_> = (0..5).map(|_| monitor.record(&config(), Event::Response(503))).collect();
    assert_eq!(all, [None, None, None, None, Some(Reason::Consecutive5xx)]);
    for _ in 0..4 {
        monitor.record(&config(), Event::Response(500));
    }
    monitor.record(&config(), Event::Response(200));
    assert_eq!(monitor.record(&config(), Event::Response(500)), None);
}

#[test]
fn gateway_errors_are_counted_apart() {
    let config = OutlierDetection { consecutive_gateway: 2, consecutive_5xx: 0, ..config() };
    let monitor = Monitor::default();
    assert_eq!(monitor.record(&config, Event::ConnectFailed), None);
    assert_eq!(monitor.record(&config, Event::Response(500)), None);
    assert_eq!(monitor.record(&config, Event::Timeout), None);
    assert_eq!(monitor.record(&config, Event::Response(502)), Some(Reason::ConsecutiveGateway));
}

#[test]
fn local_errors_can_be_split_off() {
    let config = OutlierDetection { split_local_origin: true, consecutive_local: 2, consecutive_5xx: 1, ..config() };
    let monitor = Monitor::default();
    assert_eq!(monitor.record(&config, Event::ConnectFailed), None);
    assert_eq!(monitor.record(&config, Event::Connected), None);
    assert_eq!(monitor.record(&config, Event::ConnectFailed), None);
    assert_eq!(monitor.record(&config, Event::Timeout), Some(Reason::ConsecutiveLocal));
}

#[test]
fn the_share_of_ejected_endpoints_is_bounded() {
    let mut out = Ejections::default();
    let host = |n: u8| Str::from(format!("10.77.0.{n}:8080"));
    assert_eq!(out.eject(&config(), &host(1), 3, s(0)), Some(s(30)));
    assert_eq!(out.eject(&config(), &host(2), 3, s(0)), None, "2 of 3 are more than half");
    let tenth = OutlierDetection { max_ejection_percent: 10, ..config() };
    assert_eq!(Ejections::default().eject(&tenth, &host(1), 3, s(0)), None, "1 of 3 is more than a tenth");
    let all = OutlierDetection { max_ejection_percent: 100, ..config() };
    assert!(out.eject(&all, &host(2), 3, s(0)).is_some() && out.eject(&all, &host(3), 3, s(0)).is_some());
    assert_eq!(out.active(), 3);
}

#[test]
fn each_ejection_in_a_row_is_longer_and_good_behaviour_is_forgotten() {
    let config = OutlierDetection { max_ejection_percent: 100, ..config() };
    let host = Str::from("h");
    let mut out = Ejections::default();
    assert_eq!(out.eject(&config, &host, 1, s(0)), Some(s(30)));
    assert_eq!(out.sweep(&config, s(29)), Vec::<Str>::new());
    assert_eq!(out.sweep(&config, s(30)), std::slice::from_ref(&host));
    assert_eq!(out.eject(&config, &host, 1, s(31)), Some(s(60)));
    assert_eq!(out.sweep(&config, s(91)), std::slice::from_ref(&host));
    out.sweep(&config, s(101));
    out.sweep(&config, s(111));
    assert_eq!(out.eject(&config, &host, 1, s(120)), Some(s(30)));
    out.keep(|_| false);
    assert_eq!(out.active(), 0);
}

#[test]
fn changes_close_together_are_merged() {
    let mut window = MergeWindow::new(s(1));
    let ms = Duration::from_millis;
    assert_eq!(window.change(ms(100)), ms(100));
    assert_eq!(window.change(ms(140)), ms(1100));
    assert_eq!(window.change(ms(180)), ms(1100));
    assert!(!window.take_due(ms(1099)));
    assert!(window.take_due(ms(1100)) && !window.take_due(ms(1101)));
    assert_eq!(window.change(ms(1200)), ms(2100));
}

proptest! {
    #[test]
    fn a_full_count_needs_as_many_failures_since_the_last_success(statuses in prop::collection::vec(prop_oneof![Just(200u16), Just(500), Just(503)], 0..40)) {
        let monitor = Monitor::default();
        let mut in_a_row = 0;
        for status in statuses {
            in_a_row = if status >= 500 { in_a_row + 1 } else { 0 };
            let want = in_a_row == 5;
            prop_assert_eq!(monitor.record(&config(), Event::Response(status)).is_some(), want);
            if want {
                in_a_row = 0;
            }
        }
    }
}

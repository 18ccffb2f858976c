//! The `date` header, formatted once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    static NOW: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))) };
}

/// The current date as RFC 9110 writes it.
pub(crate) fn now() -> HeaderValue {
    let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    NOW.with_borrow_mut(|(of, text)| {
        if *of != second {
            let at = jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(0)).unwrap_or_default();
            if let Ok(value) = HeaderValue::try_from(at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
                (*of, *text) = (second, value);
            }
        }
        text.clone()
    })
}

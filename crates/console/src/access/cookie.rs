//! The console's cookies: only the console's own requests carry them, and no script can read them.

use axum::http::{HeaderMap, HeaderValue, header};

/// Holds the token of who signed in.
pub(crate) const TOKEN: &str = "varka-token";
/// Holds what a sign-in at an identity provider began with.
pub(crate) const SIGN_IN: &str = "varka-sign-in";
/// Browsers keep cookies of at most 4,096 bytes, their names and attributes included.
pub(crate) const LONGEST: usize = 3_800;

/// The value of a cookie.
pub(crate) fn read<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// Sets a cookie until the browser is closed. `None`: its value is no value of a cookie.
pub(crate) fn keep(headers: &HeaderMap, name: &str, value: &str) -> Option<HeaderValue> {
    let fits = value.len() <= LONGEST && value.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b));
    if !fits {
        return None;
    }
    HeaderValue::from_str(&format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{}", secure(headers))).ok()
}

/// Sets a cookie that comes back with who is sent back from another site, and to one path only, within a quarter of an hour.
pub(crate) fn lend(headers: &HeaderMap, name: &str, value: &str, path: &str) -> Option<HeaderValue> {
    let text = format!("{name}={value}; Path={path}; Max-Age=900; HttpOnly; SameSite=Lax{}", secure(headers));
    HeaderValue::from_str(&text).ok()
}

/// Takes a cookie back.
pub(crate) fn take(name: &str, path: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{name}=; Path={path}; Max-Age=0; HttpOnly; SameSite=Strict")).ok()
}

/// The console itself speaks HTTP; TLS ends before it, at who says so.
fn secure(headers: &HeaderMap) -> &'static str {
    let over = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    if over.is_some_and(|over| over.eq_ignore_ascii_case("https")) { "; Secure" } else { "" }
}

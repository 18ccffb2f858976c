//! Trace context: read from a request, passed on to the next hop.
//!
//! W3C (`traceparent`, `tracestate`) and Zipkin's B3, as one header or as several. What came in one form goes on in that form,
//! with our span as the parent, and in the provider's own forms; a trace that begins here goes on in those. `tracestate` is never
//! touched.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

pub mod otlp;
mod protobuf;
mod span;
mod tags;
#[cfg(test)]
mod tests;

pub use span::{Span, SpanKind, zipkin_json};
pub use tags::Tags;

use crate::text::{Short, hex, unhex};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Of version 00.
const TRACEPARENT_LENGTH: usize = 55;
const B3: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Identifier of a trace; never zero in a valid one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// Identifier of a span; never zero in a valid one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// How a context travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forms {
    /// `traceparent`.
    pub w3c: bool,
    /// `b3`.
    pub b3_single: bool,
    /// `x-b3-*`.
    pub b3_multi: bool,
}

/// Where a request is in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that the request belongs to: the caller's when it was read, ours after [`Context::child`].
    pub span: SpanId,
    /// The span above.
    pub parent: Option<SpanId>,
    /// Whether spans are reported; `None`: the caller left it to us.
    pub sampled: Option<bool>,
    /// How it travels.
    pub forms: Forms,
}

impl Context {
    /// Begins a trace. Identifiers come from random numbers; zero becomes one.
    pub fn root(trace: u128, span: u64, sampled: bool, forms: Forms) -> Self {
        Self { trace: TraceId(trace.max(1)), span: SpanId(span.max(1)), parent: None, sampled: Some(sampled), forms }
    }

    /// Reads what a caller sent, as [`Said::context`].
    pub fn extract(headers: &HeaderMap) -> Option<Self> {
        Said::of(headers).context()
    }

    /// A span below this one.
    #[must_use]
    pub fn child(self, span: u64, sampled: bool) -> Self {
        Self { span: SpanId(span.max(1)), parent: Some(self.span), sampled: Some(sampled), ..self }
    }

    /// The same in these forms, too.
    #[must_use]
    pub fn also_in(mut self, forms: Forms) -> Self {
        self.forms.w3c |= forms.w3c;
        self.forms.b3_single |= forms.b3_single;
        self.forms.b3_multi |= forms.b3_multi;
        self
    }

    /// Writes the context into a request, in its forms.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let sampled = self.sampled == Some(true);
        if self.forms.w3c
            && let Ok(value) = HeaderValue::from_bytes(traceparent(self.trace, self.span, sampled).as_bytes())
        {
            headers.insert(TRACEPARENT, value);
        }
        let digit = if sampled { '1' } else { '0' };
        let mut set = |name: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        if self.forms.b3_single {
            let parent = self.parent.map(|parent| format!("-{parent}")).unwrap_or_default();
            set(B3, format!("{}-{}-{digit}{parent}", self.trace, self.span));
        }
        if self.forms.b3_multi {
            set(TRACE_ID, self.trace.to_string());
            set(SPAN_ID, self.span.to_string());
            set(SAMPLED, digit.to_string());
            match self.parent {
                Some(parent) => set(PARENT_ID, parent.to_string()),
                None => drop(headers.remove(PARENT_ID)),
            }
            headers.remove(FLAGS);
        }
    }
}

/// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
fn traceparent(trace: TraceId, span: SpanId, sampled: bool) -> Short<TRACEPARENT_LENGTH> {
    #[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
    let [high, low] = [(trace.0 >> 64) as u64, trace.0 as u64];
    let mut text = Short::default();
    text.block(*b"00-", 3);
    text.block(hex(high), 16);
    text.block(hex(low), 16);
    text.push(b'-');
    text.block(hex(span.0), 16);
    text.block(if sampled { *b"-01" } else { *b"-00" }, 3);
    text
}

/// What a caller sent, found in one look over its headers. Of a header with several lines the first counts.
#[derive(Debug, Default)]
pub struct Said<'h> {
    traceparent: Option<&'h HeaderValue>,
    b3: Option<&'h HeaderValue>,
    trace: Option<&'h HeaderValue>,
    span: Option<&'h HeaderValue>,
    parent: Option<&'h HeaderValue>,
    sampled: Option<&'h HeaderValue>,
    flags: Option<&'h HeaderValue>,
    /// What the caller calls the request: `x-envoy-decorator-operation`.
    pub operation: Option<&'h HeaderValue>,
}

impl<'h> Said<'h> {
    /// Reads a request's headers.
    pub fn of(headers: &'h HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                "traceparent" => &mut said.traceparent,
                "b3" => &mut said.b3,
                "x-b3-traceid" => &mut said.trace,
                "x-b3-spanid" => &mut said.span,
                "x-b3-parentspanid" => &mut said.parent,
                "x-b3-sampled" => &mut said.sampled,
                "x-b3-flags" => &mut said.flags,
                "x-envoy-decorator-operation" => &mut said.operation,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        said
    }

    /// The trace that the request is in; W3C goes before B3. What is malformed counts as absent.
    pub fn context(&self) -> Option<Context> {
        let w3c = text(self.traceparent).and_then(parse_traceparent);
        let single = text(self.b3).and_then(parse_b3);
        let multi = text(self.trace).and_then(|trace| {
            parse_multi(trace, text(self.span), text(self.parent), text(self.sampled), text(self.flags))
        });
        let forms = Forms { w3c: w3c.is_some(), b3_single: single.is_some(), b3_multi: multi.is_some() };
        w3c.or(single).or(multi).map(|parts| Context {
            trace: parts.trace,
            span: parts.span,
            parent: parts.parent,
            sampled: parts.sampled,
            forms,
        })
    }

    /// Whether the request is in a trace that nobody records, said in W3C's form and in no other. It may go on as it came: where no span is
    /// left, there is none to stand below.
    pub fn is_left_out(&self) -> bool {
        let others = self.b3.or(self.trace).or(self.sampled).or(self.flags);
        others.is_none() && self.traceparent.is_some_and(|value| is_unsampled(value.as_bytes()))
    }

    /// What the caller decided without saying which trace it is (`b3: 0`, `x-b3-sampled: 1`); `None`: nothing.
    pub fn decision(&self) -> Option<bool> {
        match (text(self.b3), text(self.flags), text(self.sampled)) {
            (Some("0"), ..) | (_, _, Some("0" | "false")) => Some(false),
            (Some("1" | "d"), ..) | (_, Some("1"), _) | (_, _, Some("1" | "true")) => Some(true),
            _ => None,
        }
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

struct Parts {
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    sampled: Option<bool>,
}

/// `VERSION-TRACE-PARENT-FLAGS`, in lower case; a later version may have more fields, `ff` is none.
fn parse_traceparent(text: &str) -> Option<Parts> {
    let (fields, rest) = text.trim_ascii().as_bytes().split_first_chunk::<TRACEPARENT_LENGTH>()?;
    let [first, second, b'-', ids @ .., b'-', high, low] = fields else { return None };
    let version = [*first, *second];
    let (trace, ids) = ids.split_first_chunk::<32>()?;
    let [b'-', span @ ..] = ids else { return None };
    let ends = rest.is_empty() || (version != *b"00" && rest.starts_with(b"-"));
    if !ends || version == *b"ff" || fields.iter().fold(false, |any, letter| any | letter.is_ascii_uppercase()) {
        return None;
    }
    byte(version)?;
    let sampled = byte([*high, *low])? & 1 == 1;
    Some(Parts { trace: trace_id(trace)?, span: span_id(span)?, parent: None, sampled: Some(sampled) })
}

/// Whether it is a valid `traceparent` of version 00 without the flag `sampled`.
fn is_unsampled(text: &[u8]) -> bool {
    let Ok(text) = <&[u8; TRACEPARENT_LENGTH]>::try_from(text) else { return false };
    let ([b'0', b'0', b'-', rest @ ..], [.., b'-', high, low]) = (text, text) else { return false };
    let (trace, rest) = rest.split_at(32);
    let [b'-', span @ ..] = rest else { return false };
    let Some(span) = span.first_chunk::<16>() else { return false };
    // One look at all letters is quicker than one that ends at the first.
    let is_digit = |letter: &u8| letter.is_ascii_digit() | matches!(letter, b'a'..=b'f');
    let is_id = |id: &[u8]| {
        let digits = id.iter().fold(true, |digits, letter| digits & is_digit(letter));
        digits && id.iter().fold(0, |any, letter| any | (letter ^ b'0')) != 0
    };
    is_id(trace)
        && is_id(span)
        && is_digit(high)
        && is_digit(low)
        && char::from(*low).to_digit(16).is_some_and(|flags| flags & 1 == 0)
}

/// `TRACE-SPAN[-SAMPLED[-PARENT]]`. A lone decision (`0`, `1`, `d`) names no trace and counts as absent.
fn parse_b3(text: &str) -> Option<Parts> {
    let mut fields = text.trim().split('-');
    let mut id = || fields.next().map(str::as_bytes);
    let (trace, span) = (trace_id(id()?)?, span_id(id()?)?);
    let sampled = match fields.next() {
        None => None,
        Some("0") => Some(false),
        Some("1" | "d") => Some(true),
        Some(_) => return None,
    };
    let parent = match fields.next() {
        None => None,
        Some(parent) => Some(span_id(parent.as_bytes())?),
    };
    fields.next().is_none().then_some(Parts { trace, span, parent, sampled })
}

fn parse_multi(
    trace: &str,
    span: Option<&str>,
    parent: Option<&str>,
    sampled: Option<&str>,
    flags: Option<&str>,
) -> Option<Parts> {
    let sampled = match (flags, sampled) {
        (Some("1"), _) | (_, Some("1" | "true")) => Some(true),
        (_, Some("0" | "false")) => Some(false),
        _ => None,
    };
    let id = |text: &str| span_id(text.as_bytes());
    Some(Parts { trace: trace_id(trace.as_bytes())?, span: id(span?)?, parent: parent.and_then(id), sampled })
}

/// 16 or 32 hex digits, not all zero.
fn trace_id(text: &[u8]) -> Option<TraceId> {
    let (high, low) = match <[u8; 16]>::try_from(text) {
        Ok(short) => (0, unhex(short)?),
        Err(_) => {
            let (high, low) = text.split_first_chunk()?;
            (unhex(*high)?, unhex(low.try_into().ok()?)?)
        }
    };
    Some(u128::from(high) << 64 | u128::from(low)).filter(|id| *id != 0).map(TraceId)
}

/// 16 hex digits, not all zero.
fn span_id(text: &[u8]) -> Option<SpanId> {
    Some(unhex(text.try_into().ok()?)?).filter(|id| *id != 0).map(SpanId)
}

/// Two hex digits.
fn byte(digits: [u8; 2]) -> Option<u32> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some(high? << 4 | low?)
}

//! Matches on what filters have found out about a request.
//!
//! Envoy tells a text from a list; Istio asks for either, and so does what is encoded here. A matcher of a text alone means what
//! it says only where no list can be, which the caller knows.

use varka_engine::ir::{MetadataMatch, StringMatch};
use varka_proto::envoy::matcher::{self, list_matcher, metadata_matcher, value_matcher::MatchPattern};

use super::refusal::{At, Decoded};
use super::value::{string_matcher, strings, strs, to_string_match};

fn value(pattern: MatchPattern) -> matcher::ValueMatcher {
    matcher::ValueMatcher { match_pattern: Some(pattern) }
}

fn with_value(m: &MetadataMatch, value: matcher::ValueMatcher) -> matcher::MetadataMatcher {
    let segment = |key: String| metadata_matcher::PathSegment {
        segment: Some(metadata_matcher::path_segment::Segment::Key(key)),
    };
    matcher::MetadataMatcher {
        filter: m.filter.to_string(),
        path: strings(&m.path).into_iter().map(segment).collect(),
        value: Some(value),
        invert: m.invert,
    }
}

/// A text, or any element of a list.
pub(super) fn encode(m: &MetadataMatch) -> matcher::MetadataMatcher {
    let itself = || value(MatchPattern::StringMatch(string_matcher(&m.value)));
    let any = matcher::ListMatcher { match_pattern: Some(list_matcher::MatchPattern::OneOf(Box::new(itself()))) };
    let either = matcher::OrMatcher { value_matchers: vec![itself(), value(MatchPattern::ListMatch(Box::new(any)))] };
    with_value(m, value(MatchPattern::OrMatch(either)))
}

/// A text that is never in a list.
pub(super) fn encode_text(m: &MetadataMatch) -> matcher::MetadataMatcher {
    with_value(m, value(MatchPattern::StringMatch(string_matcher(&m.value))))
}

/// What [`encode`] writes.
pub(super) fn decode(at: &At<'_>, m: matcher::MetadataMatcher) -> Decoded<MetadataMatch> {
    with(at, m, either)
}

/// What [`encode_text`] writes.
pub(super) fn decode_text(at: &At<'_>, m: matcher::MetadataMatcher) -> Decoded<MetadataMatch> {
    with(at, m, |at, value| match value.match_pattern {
        Some(MatchPattern::StringMatch(m)) => to_string_match(&at.field("string_match"), m),
        _ => Err(at.not_implemented("a match other than string_match")),
    })
}

fn with(
    at: &At<'_>,
    m: matcher::MetadataMatcher,
    decode: impl FnOnce(&At<'_>, matcher::ValueMatcher) -> Decoded<StringMatch>,
) -> Decoded<MetadataMatch> {
    let matcher::MetadataMatcher { filter, path, value, invert } = m;
    let mut keys = Vec::with_capacity(path.len());
    for segment in path {
        let metadata_matcher::path_segment::Segment::Key(key) = at.need("key", segment.segment)?;
        keys.push(key);
    }
    let value = decode(&at.field("value"), at.need("value", value)?)?;
    Ok(MetadataMatch { filter: filter.into(), path: strs(keys), value, invert })
}

fn either(at: &At<'_>, value: matcher::ValueMatcher) -> Decoded<StringMatch> {
    let only_both = || at.not_implemented("a match other than or_match of a string_match and the same in a list");
    let Some(MatchPattern::OrMatch(either)) = value.match_pattern else { return Err(only_both()) };
    let [itself, any] = <[_; 2]>::try_from(either.value_matchers).map_err(|_| only_both())?;
    let (Some(MatchPattern::StringMatch(m)), Some(MatchPattern::ListMatch(list))) =
        (itself.match_pattern, any.match_pattern)
    else {
        return Err(only_both());
    };
    let Some(list_matcher::MatchPattern::OneOf(one)) = list.match_pattern else { return Err(only_both()) };
    if one.match_pattern.as_ref() != Some(&MatchPattern::StringMatch(m.clone())) {
        return Err(only_both());
    }
    to_string_match(at, m)
}

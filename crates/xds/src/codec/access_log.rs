//! Access logs: files and standard output, as text or JSON.

use std::collections::HashMap;

use varka_engine::expression::Expression;
use varka_engine::ir::{AccessLog, AccessLogFormat, AccessLogSink, Str};
use varka_proto::envoy::access_log_expression::ExpressionFilter;
use varka_proto::envoy::accesslog::{self, access_log_filter::FilterSpecifier};
use varka_proto::envoy::core::{self, data_source::Specifier, substitution_format_string::Format};
use varka_proto::envoy::file_access_log::{FileAccessLog, file_access_log};
use varka_proto::envoy::stream_access_log::{StdoutAccessLog, stdout_access_log};
use varka_proto::protobuf::{Struct, value::Kind};

use super::refusal::{At, Decoded, open};
use super::value::{object, string_value, to_inline_text};
use super::wire::{holds, pack, unpack};

const FILE: &str = "envoy.access_loggers.file";
/// Where Istio, too, sends what goes to standard output.
const STDOUT: &str = "/dev/stdout";
const EXPRESSION: &str = "envoy.access_loggers.extension_filters.cel";
/// "No route, or no filter chain".
const NOT_FOUND: &str = "NR";

pub(super) fn encode(log: &AccessLog) -> accesslog::AccessLog {
    let format = match &log.format {
        AccessLogFormat::Text(text) => {
            let text =
                core::DataSource { specifier: Some(Specifier::InlineString(text.to_string())), ..Default::default() };
            Format::TextFormatSource(text)
        }
        AccessLogFormat::Json(keys) => {
            Format::JsonFormat(object(keys.iter().map(|(key, value)| (&**key, string_value(value)))))
        }
    };
    let path = match &log.sink {
        AccessLogSink::Stdout => STDOUT.to_owned(),
        AccessLogSink::File(path) => path.to_string(),
    };
    let format = core::SubstitutionFormatString { format: Some(format), ..Default::default() };
    let file = FileAccessLog { path, access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)) };
    accesslog::AccessLog {
        name: FILE.to_owned(),
        filter: encode_filter(log),
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(pack(&file))),
    }
}

/// Both conditions, where there are two.
fn encode_filter(log: &AccessLog) -> Option<accesslog::AccessLogFilter> {
    let of = |specifier| accesslog::AccessLogFilter { filter_specifier: Some(specifier) };
    let not_found = log.only_not_found.then(|| {
        of(FilterSpecifier::ResponseFlagFilter(accesslog::ResponseFlagFilter { flags: vec![NOT_FOUND.to_owned()] }))
    });
    let expression = log.filter.as_ref().map(|text| {
        let config = pack(&ExpressionFilter { expression: text.to_string(), cel_config: None });
        let config_type = Some(accesslog::extension_filter::ConfigType::TypedConfig(config));
        of(FilterSpecifier::ExtensionFilter(accesslog::ExtensionFilter { name: EXPRESSION.to_owned(), config_type }))
    });
    match (not_found, expression) {
        (Some(a), Some(b)) => Some(of(FilterSpecifier::AndFilter(accesslog::AndFilter { filters: vec![a, b] }))),
        (one, other) => one.or(other),
    }
}

pub(super) fn decode(at: &At<'_>, log: accesslog::AccessLog) -> Decoded<AccessLog> {
    let accesslog::AccessLog { name, filter, config_type } = log;
    let mut conditions = Conditions::default();
    if let Some(filter) = filter {
        decode_filter(&at.field("filter"), filter, &mut conditions)?;
    }
    let Conditions { only_not_found, filter } = conditions;
    let accesslog::access_log::ConfigType::TypedConfig(config) = at.need("typed_config", config_type)?;
    let at_config = at.field("typed_config");
    let (sink, format) = if holds::<FileAccessLog>(&config) {
        let FileAccessLog { path, access_log_format } = unpack(&at_config, &config)?;
        let sink = if path == STDOUT { AccessLogSink::Stdout } else { AccessLogSink::File(path.into()) };
        let format = match at_config.need("log_format", access_log_format)? {
            file_access_log::AccessLogFormat::LogFormat(format) => format,
            _ => return Err(at_config.not_implemented("a format other than log_format")),
        };
        (sink, format)
    } else if holds::<StdoutAccessLog>(&config) {
        let StdoutAccessLog { access_log_format } = unpack(&at_config, &config)?;
        let stdout_access_log::AccessLogFormat::LogFormat(format) = at_config.need("log_format", access_log_format)?;
        (AccessLogSink::Stdout, format)
    } else {
        return Err(at.not_implemented(name));
    };
    Ok(AccessLog { sink, format: decode_format(&at_config.field("log_format"), format)?, only_not_found, filter })
}

#[derive(Default)]
struct Conditions {
    only_not_found: bool,
    filter: Option<Str>,
}

/// Only what was not found, only what satisfies an expression, or both.
fn decode_filter(at: &At<'_>, filter: accesslog::AccessLogFilter, found: &mut Conditions) -> Decoded<()> {
    match filter.filter_specifier {
        Some(FilterSpecifier::ResponseFlagFilter(f)) if f.flags == [NOT_FOUND] => found.only_not_found = true,
        Some(FilterSpecifier::ExtensionFilter(extension)) if found.filter.is_none() => {
            let at = at.field("extension_filter");
            let accesslog::extension_filter::ConfigType::TypedConfig(config) =
                at.need("typed_config", extension.config_type)?;
            if !holds::<ExpressionFilter>(&config) {
                return Err(at.not_implemented(extension.name));
            }
            let config = unpack(&at, &config)?;
            open!(at, config => ExpressionFilter { expression } refuse { cel_config });
            if let Err(error) = Expression::parse(&expression) {
                return Err(at.not_implemented(format!("the expression `{expression}` ({error})")));
            }
            found.filter = Some(expression.into());
        }
        Some(FilterSpecifier::AndFilter(and)) => {
            let at = at.field("and_filter");
            for filter in and.filters {
                // One level is all that is sent; deeper ones would be a way to make us recurse.
                if matches!(filter.filter_specifier, Some(FilterSpecifier::AndFilter(_))) {
                    return Err(at.not_implemented("an and_filter within an and_filter"));
                }
                decode_filter(&at, filter, found)?;
            }
        }
        _ => return Err(at.not_implemented("a filter other than response_flag_filter NR and one expression")),
    }
    Ok(())
}

#[expect(deprecated, reason = "senders still use the obsolete text format")]
fn decode_format(at: &At<'_>, format: core::SubstitutionFormatString) -> Decoded<AccessLogFormat> {
    // Keys come sorted in any case; the content type concerns bodies only.
    open!(at, format => core::SubstitutionFormatString { format }
        refuse { omit_empty_values, formatters } harmless { content_type, json_format_options });
    match at.need("format", format)? {
        Format::TextFormat(text) => Ok(AccessLogFormat::Text(text.into())),
        Format::TextFormatSource(source) => {
            Ok(AccessLogFormat::Text(to_inline_text(&at.field("text_format_source"), source)?.into()))
        }
        Format::JsonFormat(Struct { fields }) => decode_json(&at.field("json_format"), fields),
    }
}

fn decode_json(at: &At<'_>, fields: HashMap<String, varka_proto::protobuf::Value>) -> Decoded<AccessLogFormat> {
    let mut keys: Vec<(Str, Str)> = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        match value.kind {
            Some(Kind::StringValue(text)) => keys.push((key.into(), text.into())),
            _ => return Err(at.not_implemented(format!("a value of {key} that is not text"))),
        }
    }
    keys.sort();
    Ok(AccessLogFormat::Json(keys))
}

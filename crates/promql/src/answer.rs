//! The answer to a query, and its form in Prometheus' HTTP API.

use std::sync::Arc;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::annotations::{Annotations, Severity};
use crate::error::Error;
use crate::format;
use crate::histogram::Histogram;
use crate::labels::Labels;

/// What a query results in.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The result.
    pub value: QueryValue,
    /// What to know about it.
    pub annotations: Annotations,
}

/// A result. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// A number.
    Scalar {
        /// When.
        time: i64,
        /// What.
        value: f64,
    },
    /// A text.
    Text {
        /// When.
        time: i64,
        /// What.
        text: String,
    },
    /// A sample of each series.
    Vector(Vec<InstantSample>),
    /// Many samples of each series.
    Matrix(Vec<Series>),
}

/// A series' sample at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct InstantSample {
    /// Whose.
    pub labels: Labels,
    /// When.
    pub time: i64,
    /// What.
    pub value: SampleValue,
}

/// A series' samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Whose.
    pub labels: Labels,
    /// When and what, in the order of times.
    pub samples: Vec<(i64, SampleValue)>,
}

/// A sample's value.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// Seconds with milliseconds, as in the API.
struct Time(i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % 1000 == 0 {
            serializer.serialize_i64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let buckets: Vec<(u8, String, String, String)> = self
            .buckets()
            .filter(|bucket| bucket.count != 0.0)
            .map(|bucket| {
                let bounds = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                    (false, true) => 0,
                    (true, false) => 1,
                    (false, false) => 2,
                    (true, true) => 3,
                };
                (bounds, format::json(bucket.lower), format::json(bucket.upper), format::json(bucket.count))
            })
            .collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &format::json(self.count))?;
        map.serialize_entry("sum", &format::json(self.sum))?;
        if !buckets.is_empty() {
            map.serialize_entry("buckets", &buckets)?;
        }
        map.end()
    }
}

/// Samples of one kind.
struct Pairs<'a, T>(Vec<(i64, &'a T)>);

impl Serialize for Pairs<'_, f64> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (time, value) in &self.0 {
            list.serialize_element(&(Time(*time), format::json(**value)))?;
        }
        list.end()
    }
}

impl Serialize for Pairs<'_, Histogram> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (time, value) in &self.0 {
            list.serialize_element(&(Time(*time), value))?;
        }
        list.end()
    }
}

impl Serialize for InstantSample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("metric", &self.labels)?;
        match &self.value {
            SampleValue::Float(value) => map.serialize_entry("value", &(Time(self.time), format::json(*value)))?,
            SampleValue::Histogram(histogram) => map.serialize_entry("histogram", &(Time(self.time), &**histogram))?,
        }
        map.end()
    }
}

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let floats = self.samples.iter().filter_map(|(time, value)| match value {
            SampleValue::Float(value) => Some((*time, value)),
            SampleValue::Histogram(_) => None,
        });
        let histograms = self.samples.iter().filter_map(|(time, value)| match value {
            SampleValue::Float(_) => None,
            SampleValue::Histogram(histogram) => Some((*time, &**histogram)),
        });
        let (floats, histograms) = (Pairs(floats.collect()), Pairs(histograms.collect()));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("metric", &self.labels)?;
        if !floats.0.is_empty() {
            map.serialize_entry("values", &floats)?;
        }
        if !histograms.0.is_empty() {
            map.serialize_entry("histograms", &histograms)?;
        }
        map.end()
    }
}

impl Serialize for QueryValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        let kind = match self {
            Self::Scalar { .. } => "scalar",
            Self::Text { .. } => "string",
            Self::Vector(_) => "vector",
            Self::Matrix(_) => "matrix",
        };
        map.serialize_entry("resultType", kind)?;
        match self {
            Self::Scalar { time, value } => map.serialize_entry("result", &(Time(*time), format::json(*value)))?,
            Self::Text { time, text } => map.serialize_entry("result", &(Time(*time), text))?,
            Self::Vector(samples) => map.serialize_entry("result", samples)?,
            Self::Matrix(series) => map.serialize_entry("result", series)?,
        }
        map.end()
    }
}

/// The body of an answer of Prometheus' HTTP API: `data` is a [`QueryValue`], or whatever another endpoint answers with.
#[derive(Debug, Serialize)]
pub struct Response<T> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    #[serde(rename = "errorType", skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    infos: Vec<String>,
}

impl<T> Response<T> {
    /// An answer.
    pub fn of(data: T) -> Self {
        let (warnings, infos) = (Vec::new(), Vec::new());
        Self { status: "success", data: Some(data), error_type: None, error: None, warnings, infos }
    }

    /// With what to know about it, and where in the query that came about.
    #[must_use]
    pub fn with(mut self, annotations: &Annotations, query: &str) -> Self {
        self.warnings = annotations.texts(Severity::Warning, query);
        self.infos = annotations.texts(Severity::Info, query);
        self
    }

    /// Why there is none.
    #[must_use]
    pub fn of_error(error: &Error) -> Self {
        let (warnings, infos) = (Vec::new(), Vec::new());
        let (error_type, error) = (Some(error.kind()), Some(error.to_string()));
        Self { status: "error", data: None, error_type, error, warnings, infos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_form_of_the_api() {
        let labels: Labels = [("__name__", "up"), ("job", "a")].into_iter().collect();
        let value = SampleValue::Float(1e-7);
        let vector = QueryValue::Vector(vec![InstantSample { labels: labels.clone(), time: 1_500, value }]);
        assert_eq!(
            serde_json::to_string(&Response::of(vector)).unwrap(),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a"},"value":[1.5,"1e-07"]}]}}"#
        );
        let histogram = Histogram { count: 3.0, sum: 2.5, positive: vec![(1, 3.0)], ..Histogram::default() };
        let samples = vec![(0, SampleValue::Float(f64::NAN)), (1000, SampleValue::Histogram(Arc::new(histogram)))];
        let matrix = QueryValue::Matrix(vec![Series { labels, samples }]);
        assert_eq!(
            serde_json::to_string(&matrix).unwrap(),
            r#"{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a"},"values":[[0,"NaN"]],"histograms":[[1,{"count":"3","sum":"2.5","buckets":[[0,"1","2","3"]]}]]}]}"#
        );
    }

    #[test]
    fn errors_say_whose_they_are() {
        let response = Response::<()>::of_error(&crate::parser::parse("sum(").unwrap_err());
        let json = serde_json::to_value(&response).unwrap();
        assert_eq!((json["status"].as_str(), json["errorType"].as_str()), (Some("error"), Some("bad_data")));
        assert!(json["error"].as_str().unwrap().starts_with("1:5: parse error: unexpected the end of the query"));
    }
}

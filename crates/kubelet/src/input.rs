//! What pods and the authors of pods write, taken apart without a node: queries for names, quantities, references to variables, and
//! lines of output.
//!
//! The runtime stands behind these parsers. They are public for those who have bytes and no pod, such as a fuzzer.

pub use crate::dns::message::{Pending as PendingName, Turn as NameTurn, begin as name_query};
pub use crate::dns::names::View as NamesView;
pub use crate::logs::line::{Line as LogLine, Splitter as LogSplitter, Stream as OutputStream};
pub use crate::pod::environment::{LONGEST_VALUE, TooLong, expand};
pub use crate::quantity::thousandths;

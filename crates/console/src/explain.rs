//! Why a request goes the way it goes: each proxy on its way decides here as it does there, and says why.
//!
//! For every proxy its configuration is compiled from the objects (`varka_pilot`), only what the request needs, and the functions
//! that the data plane decides with (`varka_engine`) decide with it, noting their reasons. There is no second set of rules: what
//! is added are words, the object and the line that said so, and what else there was. Nothing here reads a clock or a socket.
//!
//! What cannot be known is not made up: an external authorizer's answer, a token's signature key that was not fetched, which
//! share of a weighted split a request falls into (the largest is followed and the others are told), and endpoints that outlier
//! detection has taken out. What an application asks on behalf of a request is a request of its own.

mod answer;
mod destination;
mod doubt;
pub mod effect;
mod filters;
mod fix;
mod http;
mod inbound;
mod mesh;
mod outbound;
mod place;
mod pod;
mod proxy;
mod recorded;
mod request;
mod text;
mod touched;
mod unmatched;
mod upstream;
mod walk;
mod wire;

pub use answer::{Asked, By, Direction, Explanation, Hop, Outcome, Rejected, Step, Who};
pub use fix::{Wanted, service_entry};
pub use mesh::Mesh;
pub use recorded::{Recorded, RecordedHop, trace};
pub use request::{From, Thought, To};
pub use text::render;
pub use walk::{Refusal, thought};

#[cfg(test)]
pub(crate) mod tests;

//! How many streams there are at a time: of everybody together, and of each client.
//!
//! A stream costs something for as long as it lasts, so that without a bound one client takes what all of them share. A client is who signed
//! in, else an address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;

use crate::access::Refusal;

/// Of everybody together.
const ALL: usize = 256;
/// Of one client.
const OF_ONE: usize = 8;
/// Of all who come through a port-forward, or from this machine: they have one address.
const OF_LOOPBACK: usize = 64;

/// Whose a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// As the API server calls them.
    User(String),
    /// Who has not signed in.
    Address(IpAddr),
}

impl Client {
    /// Who comes from there and has not signed in.
    pub(crate) fn at(peer: SocketAddr) -> Self {
        Self::Address(peer.ip().to_canonical())
    }

    fn most(&self) -> usize {
        match self {
            Self::Address(address) if address.is_loopback() => OF_LOOPBACK,
            _ => OF_ONE,
        }
    }
}

/// The streams that there are.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by: HashMap<Client, usize>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, for as long as the answer is kept.
    pub(super) fn count(self: &Arc<Self>, client: Client) -> Result<Counted, Refusal> {
        let mut open = self.lock();
        if open.all >= ALL {
            let message = format!("The console has {ALL} streams open and opens no more.");
            let hint = "Try again in a moment; pages that nobody looks at can be closed.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, hint));
        }
        let most = client.most();
        let own = open.by.get(&client).copied().unwrap_or(0);
        if own >= most {
            let whose = match &client {
                Client::User(user) => user.clone(),
                Client::Address(address) => format!("the address {address}, from where nobody signed in,"),
            };
            let message = format!("A client has at most {most} streams open, and {whose} has as many.");
            let hint = "Close a page of the console or a command that follows something, then try again.";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "tooMany", message, hint));
        }
        open.all += 1;
        open.by.insert(client.clone(), own + 1);
        Ok(Counted { streams: Arc::clone(self), client })
    }
}

/// A stream is counted until this goes.
#[derive(Debug)]
pub(super) struct Counted {
    streams: Arc<Streams>,
    client: Client,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(own) = open.by.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Client {
        Client::at(SocketAddr::new(text.parse().unwrap(), 1))
    }

    #[test]
    fn each_client_has_its_share_and_gets_it_back() {
        let streams = Arc::new(Streams::default());
        let [alice, far, mapped] =
            [Client::User("alice".to_owned()), address("192.0.2.1"), address("::ffff:192.0.2.1")];
        let mut held: Vec<_> = (0..OF_ONE).map(|_| streams.count(alice.clone()).unwrap()).collect();
        let refused = streams.count(alice.clone()).unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::TOO_MANY_REQUESTS, "tooMany"));
        assert!(refused.message.contains("alice has as many"), "{}", refused.message);
        let others: Vec<_> = (0..OF_ONE).map(|_| streams.count(far.clone()).unwrap()).collect();
        assert_eq!(streams.count(mapped).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS, "it is the same address");
        held.pop();
        held.push(streams.count(alice.clone()).unwrap());
        drop((held, others));
        let open = streams.lock();
        assert_eq!((open.all, open.by.len()), (0, 0));
    }

    #[test]
    fn all_together_have_a_bound_too() {
        let streams = Arc::new(Streams::default());
        let local = address("::1");
        let mut held: Vec<_> = (0..OF_LOOPBACK).map(|_| streams.count(local.clone()).unwrap()).collect();
        assert_eq!(streams.count(local).unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        held.extend((OF_LOOPBACK..ALL).map(|n| streams.count(Client::User(n.to_string())).unwrap()));
        let refused = streams.count(Client::User("late".to_owned())).unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        held.pop();
        assert!(streams.count(Client::User("late".to_owned())).is_ok());
    }
}

//! Connections that stay open while the configuration changes: what is decided for each request is decided by the new one.

use std::sync::Arc;

use varka_engine::ir::{HttpFilter, PolicyAction, Proxy, Rbac, RouteSource, Terminal};

use crate::config::{Mode, action, inbound, route, table, virtual_host};
use crate::support::{App, Client, Running};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: was\r\n\r\n";

/// `inbound` with a policy that lets nobody in.
fn closed(mode: Mode) -> Proxy {
    let mut config = inbound(mode);
    for listener in config.listeners.values_mut() {
        for chain in &mut Arc::make_mut(listener).filter_chains {
            let Terminal::Http(manager) = &mut chain.terminal else { continue };
            let nobody =
                Rbac { action: PolicyAction::Allow, policies: Vec::new(), shadow: false, stat_prefix: "".into() };
            manager.filters.insert(0, HttpFilter::Rbac(nobody));
        }
    }
    config
}

#[test]
fn a_policy_holds_for_the_next_request_of_an_open_connection() {
    let app = App::start();
    let server = Running::start(&inbound(Mode::Disable), Some(app.address));
    let mut client = Client::connect(server.address("virtualInbound"));
    assert_eq!(client.ask(REQUEST).line, "HTTP/1.1 200 OK");
    server.apply(closed(Mode::Disable));
    let denied = client.ask(REQUEST);
    assert_eq!(denied.line, "HTTP/1.1 403 Forbidden");
    assert_eq!(denied.header("connection"), None, "the connection goes on");
    server.apply(inbound(Mode::Disable));
    assert_eq!(client.ask(REQUEST).line, "HTTP/1.1 200 OK");
}

#[test]
fn plain_text_ends_where_a_certificate_is_asked_for_now() {
    let app = App::start();
    let server = Running::start(&inbound(Mode::Permissive), Some(app.address));
    let mut client = Client::connect(server.address("virtualInbound"));
    assert_eq!(client.ask(REQUEST).line, "HTTP/1.1 200 OK");
    server.apply(inbound(Mode::Strict));
    client.send(REQUEST);
    assert_eq!(client.rest().unwrap_or_default(), b"", "no answer in plain text");
    assert_eq!(app.seen.lock().unwrap().len(), 1);
}

#[test]
fn a_listener_that_is_gone_answers_what_is_on_its_way_and_closes() {
    let app = App::start();
    let server = Running::start(&inbound(Mode::Disable), Some(app.address));
    let mut client = Client::connect(server.address("virtualInbound"));
    assert_eq!(client.ask(REQUEST).line, "HTTP/1.1 200 OK");
    let mut without = inbound(Mode::Disable);
    without.listeners.clear();
    server.apply(without);
    let last = client.ask(REQUEST);
    assert_eq!((last.line.as_str(), last.header("connection")), ("HTTP/1.1 200 OK", Some("close")));
    assert_eq!(client.rest().unwrap(), b"");
}

#[test]
fn routes_of_the_chain_itself_are_followed() {
    let app = App::start();
    let server = Running::start(&inbound(Mode::Disable), Some(app.address));
    let mut client = Client::connect(server.address("virtualInbound"));
    assert_eq!(client.ask(REQUEST).line, "HTTP/1.1 200 OK");
    let mut config = inbound(Mode::Disable);
    for chain in config.listeners.values_mut().flat_map(|l| &mut Arc::make_mut(l).filter_chains) {
        let Terminal::Http(manager) = &mut chain.terminal else { continue };
        let nowhere = virtual_host("inbound|http|8080", &["*"], vec![route(action("nowhere"))]);
        manager.routes = RouteSource::Inline(table("inbound|8080||", vec![nowhere]));
    }
    server.apply(config);
    assert_eq!(client.ask(REQUEST).line, "HTTP/1.1 503 Service Unavailable");
}

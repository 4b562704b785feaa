//! What a run leaves behind when it is over, however it ended: nothing.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::json;

use crate::serving::{Holdings, Server, entries, until};

/// A server that records nothing.
fn start() -> Server {
    Server::start(&["--no-record"])
}

/// Starts a run that lasts until it is ended, and waits until its hosts are up.
fn start_long_run(server: &Server) -> String {
    let params = json!({"keepalive": false, "watch": "1h"});
    let id = server.run(&json!({"experiment": "tcp-dead-peer", "params": params}));
    until("the run's hosts are up and joined", || {
        let holdings = server.holdings();
        let threads = ["wire", "sampler"];
        holdings.namespaces.len() == 3
            && threads
                .map(str::to_owned)
                .iter()
                .all(|name| holdings.threads.contains(name))
    });
    id
}

/// Whether any process of the machine is in one of these namespaces or holds it open.
fn anybody_in(namespaces: &BTreeSet<PathBuf>) -> bool {
    entries("/proc")
        .iter()
        .filter(|process| process.join("task").is_dir())
        .flat_map(|process| {
            let process = process.display();
            let mut links = entries(&format!("{process}/fd"));
            links.extend(
                entries(&format!("{process}/task"))
                    .iter()
                    .map(|task| task.join("ns/net")),
            );
            links
        })
        .filter_map(|link| fs::read_link(link).ok())
        .any(|target| namespaces.contains(&target))
}

fn idle(server: &Server) -> Holdings {
    let holdings = server.holdings();
    assert_eq!(holdings.namespaces.len(), 1, "only its own");
    assert_eq!((holdings.tun_devices, holdings.threads.len()), (0, 0));
    holdings
}

#[test]
fn a_run_holds_two_namespaces_and_devices_and_a_stopped_one_holds_none() {
    let server = start();
    let before = idle(&server);
    let run = start_long_run(&server);
    let during = server.holdings();
    assert_eq!(during.tun_devices, 2);
    assert_eq!(
        during.threads,
        ["host-client", "host-server", "sampler", "wire"]
    );
    server.ask("POST", &format!("/api/runs/{run}/stop"), "");
    until("the run's hosts are gone", || server.holdings() == before);
}

#[test]
fn a_finished_run_leaves_nothing() {
    let server = start();
    let before = idle(&server);
    let run = server.ask("POST", "/api/runs", r#"{"experiment":"tcp-lifecycle"}"#);
    let path = format!("/api/runs/{}", run["id"].as_str().expect("an id"));
    until("the run is finished", || {
        server.ask("GET", &path, "")["state"] == "finished"
    });
    assert_eq!(server.holdings(), before);
}

#[test]
fn sigterm_ends_a_server_in_the_middle_of_a_run_and_nothing_is_left() {
    let server = start();
    start_long_run(&server);
    let mut namespaces = server.holdings().namespaces;
    namespaces.remove(&fs::read_link("/proc/self/ns/net").expect("our own namespace"));
    assert_eq!(namespaces.len(), 2);
    assert!(anybody_in(&namespaces), "the search finds what is there");
    server.signal("TERM");
    let status = server.ended();
    assert!(status.success(), "{status}");
    assert!(!anybody_in(&namespaces));
}

#[test]
fn sigkill_leaves_nothing_either() {
    let server = start();
    start_long_run(&server);
    let mut namespaces = server.holdings().namespaces;
    namespaces.remove(&fs::read_link("/proc/self/ns/net").expect("our own namespace"));
    server.signal("KILL");
    server.ended();
    until("nobody is in the namespaces", || !anybody_in(&namespaces));
}

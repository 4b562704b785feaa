//! Other sites and other names: what a browser may be made to send here.

use hyper::StatusCode;
use serde_json::json;

use crate::{JSON, support::Server};

#[tokio::test]
async fn other_sites_can_neither_change_nor_watch_anything() {
    let server = Server::start().await;
    let id = server.run_requests(200, "1s").await;
    let run = format!("/api/runs/{id}");
    let evil = ("origin", "https://evil.example");
    let body = json!({"experiment": "http-sequential"}).to_string();
    for (method, path) in [("POST", "/api/runs"), ("DELETE", &run)] {
        let reply = server.send(method, path, &[JSON, evil], &body).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{method}");
        assert_eq!(reply.json()["type"], "/problems/foreign-origin");
    }
    assert_eq!(server.get(&run).await.json()["state"], "running");
    let status = server.watch_as(&id, "origin", "https://evil.example").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let rebound = [("host", "rebound.example")];
    for path in ["/api/runs", "/"] {
        let reply = server.send("GET", path, &rebound, "").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(reply.json()["type"], "/problems/foreign-host");
    }
    let own = format!("http://{}", server.address);
    let status = server.watch_as(&id, "origin", &own).await;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    let stop = format!("{run}/stop");
    let reply = server.send("POST", &stop, &[("origin", &own)], "").await;
    assert_eq!(reply.status, StatusCode::OK);
}

//! Bytes that no honest client sends: each gets its status or a closed connection, and the server
//! serves the next as if nothing had happened.

use std::time::Duration;

use hyper::StatusCode;
use linger::api::Limits;

use crate::support::Server;

/// A server that waits for nobody long.
async fn server() -> Server {
    Server::limited(Limits {
        head_time: Duration::from_millis(400),
        body_time: Duration::from_millis(400),
        ..Limits::default()
    })
    .await
}

/// The statuses of every answer in what was heard.
fn statuses(heard: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(heard)
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| rest[..3].parse().unwrap())
        .collect()
}

#[tokio::test]
async fn hostile_requests_get_the_right_status() {
    let server = server().await;
    let host = server.address.to_string();
    let get = |line: &str, headers: &str| {
        format!("{line}\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n").into_bytes()
    };
    let post = |headers: &str, body: &str| {
        let mut bytes = get(
            "POST /api/runs HTTP/1.1",
            &format!("Content-Type: application/json\r\n{headers}"),
        );
        bytes.extend(body.as_bytes());
        bytes
    };
    let many = "X: y\r\n".repeat(200);
    let large = format!("X: {}\r\n", "y".repeat(40_000));
    let cases: Vec<(&str, Vec<u8>, &[u16])> = vec![
        (
            "an address of 3 KB",
            get(&format!("GET /{} HTTP/1.1", "a".repeat(3_000)), ""),
            &[414],
        ),
        (
            "an address of 70 KB",
            get(&format!("GET /{} HTTP/1.1", "a".repeat(70_000)), ""),
            &[414, 431],
        ),
        ("200 fields", get("GET / HTTP/1.1", &many), &[431]),
        ("a field of 40 KB", get("GET / HTTP/1.1", &large), &[431]),
        (
            "a field without a name",
            get("GET / HTTP/1.1", ": x\r\n"),
            &[400],
        ),
        (
            "a NUL in a field",
            get("GET / HTTP/1.1", "X: \0\r\n"),
            &[400],
        ),
        (
            "a folded field",
            get("GET / HTTP/1.1", "X: a\r\n b\r\n"),
            &[400],
        ),
        (
            "a space before the colon",
            get("GET / HTTP/1.1", "X : a\r\n"),
            &[400],
        ),
        ("no method", get(" / HTTP/1.1", ""), &[400]),
        (
            "an unknown method",
            get("BREW /api/runs HTTP/1.1", ""),
            &[405],
        ),
        (
            "CONNECT",
            get("CONNECT evil.example:443 HTTP/1.1", ""),
            &[400, 403, 404, 405],
        ),
        ("an unknown version", get("GET / HTTP/1.9", ""), &[400, 505]),
        (
            "the preface of HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            &[],
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &[400],
        ),
        (
            "no host",
            b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "two hosts",
            get("GET / HTTP/1.1", "Host: evil.example\r\n"),
            &[400],
        ),
        (
            "two different hosts",
            get("GET http://evil.example/ HTTP/1.1", ""),
            &[400],
        ),
        (
            "a host that is none",
            b"GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_vec(),
            &[403],
        ),
        (
            "an origin of raw bytes",
            post("Origin: \u{fffd}\u{fffd}\r\nContent-Length: 2\r\n", "{}"),
            &[403],
        ),
        (
            "two lengths",
            post("Content-Length: 2\r\nContent-Length: 3\r\n", "{} "),
            &[400],
        ),
        (
            "a negative length",
            post("Content-Length: -1\r\n", ""),
            &[400],
        ),
        (
            "a length beyond 64 bits",
            post("Content-Length: 99999999999999999999999\r\n", ""),
            &[400, 413],
        ),
        (
            "a huge length",
            post("Content-Length: 999999999999\r\n", ""),
            &[413],
        ),
        (
            "chunks",
            post("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            &[411],
        ),
        (
            "a length, then chunks",
            post(
                "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            &[411],
        ),
        (
            "chunks, then a length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                "0\r\n\r\n",
            ),
            &[411],
        ),
        (
            "an unknown coding",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            &[400, 411],
        ),
        (
            "text that is not UTF-8",
            {
                let mut bytes = post("Content-Length: 18\r\n", "");
                bytes.extend(b"{\"experiment\":\"\xff\"}");
                bytes
            },
            &[400],
        ),
        (
            "a body that ends early",
            post("Content-Length: 500\r\n", "{\"experiment\":"),
            &[400, 408],
        ),
        (
            "deep nesting",
            {
                let deep = "[".repeat(60_000);
                post(&format!("Content-Length: {}\r\n", deep.len()), &deep)
            },
            &[400],
        ),
    ];
    for (what, bytes, expected) in cases {
        let heard = server.say(&bytes).await;
        let told = statuses(&heard);
        // An empty list stands for a connection that is closed without a word.
        let first = told.first().copied();
        assert!(
            first.map_or(expected.is_empty(), |status| expected.contains(&status)),
            "{what}: {told:?} {}",
            String::from_utf8_lossy(&heard)
        );
        assert!(told.len() <= 1, "{what}: {told:?}");
    }
    assert_eq!(server.get("/api/experiments").await.status, StatusCode::OK);
    let runs = server.get("/api/runs").await.json();
    assert_eq!(runs, serde_json::json!([]), "nothing was started");
}

#[tokio::test]
async fn a_request_hidden_in_a_body_is_never_served() {
    let server = server().await;
    let host = server.address.to_string();
    let hidden = format!("GET /api/doctor HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for coding in [
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \tchunked\r\nContent-Length: 6\r\n",
    ] {
        let bytes = format!(
            "POST /api/runs HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             {coding}\r\n0\r\n\r\n{hidden}"
        );
        let heard = server.say(bytes.as_bytes()).await;
        let text = String::from_utf8_lossy(&heard);
        assert!(!text.contains("\"checks\""), "{coding}: {text}");
        assert_eq!(statuses(&heard).len(), 1, "{coding}: {text}");
    }
}

#[tokio::test]
async fn garbage_behind_a_request_ends_the_connection_after_its_answer() {
    let server = server().await;
    let request = format!("GET /problems HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    for garbage in [
        &b"\0\xff\x80garbage\r\n\r\n"[..],
        b"\r\n\r\n\r\nx",
        b"{\"a\": 1}\r\n\r\n",
    ] {
        let mut bytes = request.repeat(3).into_bytes();
        bytes.extend(garbage);
        let told = statuses(&server.say(&bytes).await);
        assert_eq!(told[..3], [200, 200, 200]);
        assert!(told[3..].iter().all(|&status| status == 400), "{told:?}");
    }
}

#[tokio::test]
async fn no_path_leads_to_a_file_of_the_machine() {
    let server = server().await;
    for path in [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/e/../../../etc/passwd",
        "/r/..%5c..%5cetc%5cpasswd",
        "//etc/passwd",
        "/etc/passwd%00.html",
        "/api/runs/..%2f..%2f..%2fetc%2fpasswd/events",
        "/api/runs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/problems/..%2f..%2fetc%2fpasswd",
        "/plain.css/../../Cargo.toml",
        "/file:///etc/passwd",
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            server.address
        );
        let heard = server.say(request.as_bytes()).await;
        let text = String::from_utf8_lossy(&heard);
        assert!(
            !text.contains("root:") && !text.contains("[workspace"),
            "{path}"
        );
        // The page answers for all of its own addresses, and reads them itself.
        let page = path.starts_with("/e/") || path.starts_with("/r/");
        let expected = if page { 200 } else { 404 };
        assert_eq!(statuses(&heard), [expected], "{path}: {text}");
    }
}

#[tokio::test]
async fn every_answer_keeps_to_itself() {
    let server = server().await;
    let html = ("accept", "text/html");
    for (path, headers) in [
        ("/", &[html][..]),
        ("/nothing", &[html]),
        ("/nothing", &[]),
        ("/problems", &[]),
        ("/problems/not-found", &[]),
        ("/favicon.ico", &[]),
        ("/plain.css", &[]),
        ("/api/experiments", &[]),
        ("/api/nothing", &[]),
        ("/api/runs/none/events", &[]),
    ] {
        let reply = server.send("GET", path, headers, "").await;
        let header = |name: &str| {
            let value = reply.headers.get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(
            header("cross-origin-resource-policy"),
            "same-origin",
            "{path}"
        );
        assert_eq!(
            header("cross-origin-opener-policy"),
            "same-origin",
            "{path}"
        );
        assert!(["no-referrer", "same-origin"].contains(&header("referrer-policy").as_str()));
        assert!(!header("cache-control").is_empty(), "{path}");
        assert_eq!(header("access-control-allow-origin"), "", "{path}");
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        for loose in ["script-src 'self' 'unsafe", "style-src 'self' 'unsafe", "*"] {
            assert!(!policy.contains(loose), "{path}: {policy}");
        }
    }
}

#[tokio::test]
async fn every_problem_has_a_page_where_its_type_points() {
    let server = server().await;
    let list = server.get("/problems").await;
    let names: Vec<&str> = list
        .body
        .split("href=\"/problems/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let page = server.get(&format!("/problems/{name}")).await;
        assert_eq!(page.status, StatusCode::OK, "{name}");
        assert!(
            page.body.contains(&format!("/problems/{name}</code>")),
            "{name}"
        );
    }
    let unknown = server.get("/problems/nothing").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    let kind = unknown.json()["type"].as_str().unwrap().to_owned();
    assert_eq!(server.get(&kind).await.status, StatusCode::OK);
    let html = [("accept", "text/html")];
    let page = server.send("GET", "/nowhere/%3Cb%3E", &html, "").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
}

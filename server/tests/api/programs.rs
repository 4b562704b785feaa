//! Nothing that listens to a network starts a program of somebody's choice: whatever a request
//! names, wherever it names it.

use std::{env, fs, process};

use serde_json::{Value, json};

use crate::{JSON, support::Server};

/// What a request may bring anywhere a text goes: it leaves a file where anything runs it.
fn hostile(marker: &str) -> Vec<String> {
    let touch = format!("touch {marker}");
    vec![
        touch.clone(),
        format!("; {touch} #"),
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("|{touch}"),
        format!("\n{touch}\n"),
        format!("sh -c '{touch}'"),
    ]
}

#[tokio::test]
async fn no_request_starts_a_program_whatever_it_says_and_wherever() {
    let marker = env::temp_dir().join(format!("linger-was-here-{}", process::id()));
    let texts = hostile(marker.to_str().unwrap());
    let server = Server::start().await;
    let live = server.run_requests(200, "1s").await;
    let catalogue = server.get("/api/experiments").await.json();
    let document = server.get("/api/openapi.json").await.json();

    // What can be run is what the catalogue has: no name of it takes a command line.
    let mut bodies: Vec<Value> = Vec::new();
    for text in &texts {
        for experiment in ["exec", "endpoint", "run", "sh", text.as_str()] {
            bodies.push(json!({"experiment": experiment}));
            bodies.push(json!({
                "experiment": experiment,
                "params": {"client": text, "server": text, "proxy": text, "command": text},
            }));
        }
        for entry in catalogue.as_array().unwrap() {
            let all = entry["params"].as_array().unwrap();
            let all = all.iter().map(|param| param["name"].as_str().unwrap());
            for name in all.chain(["client", "server", "proxy", "command", "program"]) {
                bodies.push(json!({"experiment": entry["id"], "params": {name: text}}));
            }
        }
    }
    for body in &bodies {
        let reply = server.post("/api/runs", body).await;
        let status = reply.status.as_u16();
        assert!(
            [404, 422].contains(&status),
            "{body}: {status} {}",
            reply.body
        );
    }

    // Every operation, with the text in its path, its query and its body.
    let escaped =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            for text in &texts {
                for id in [live.as_str(), &escaped(text)] {
                    // Whatever ends the live run comes last of all.
                    if id == live && (path.ends_with("stop") || method == "delete") {
                        continue;
                    }
                    let place = path.replace("{id}", id).replace("{format}", &escaped(text));
                    let place = format!("{place}?from={0}&before={0}&client={0}", escaped(text));
                    let body = json!({
                        "action": text, "rule": text, "host": text, "experiment": text,
                        "client": text, "program": text,
                    });
                    let method = method.to_uppercase();
                    let reply = server
                        .send(&method, &place, &[JSON], &body.to_string())
                        .await;
                    let status = reply.status.as_u16();
                    assert!(status < 500, "{method} {place}: {status} {}", reply.body);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 100, "{asked}");
    for text in &texts {
        let rule = json!({"action": "arm", "rule": text});
        let path = format!("/api/runs/{live}/actions");
        let reply = server.post(&path, &rule).await;
        assert_eq!(reply.status.as_u16(), 422, "{rule}: {}", reply.body);
    }
    let reply = server
        .send("POST", &format!("/api/runs/{live}/stop"), &[], "")
        .await;
    assert_eq!(reply.status.as_u16(), 200);
    server.state_at_the_end(&live).await;
    assert!(fs::metadata(&marker).is_err(), "a program was run");
}

//! What the server says about itself: experiments, machine, routes.

use hyper::{StatusCode, header};
use serde_json::{Value, json};

use crate::{JSON, support::Server};

#[tokio::test]
async fn the_catalogue_has_every_experiment_with_what_a_form_needs() {
    let server = Server::start().await;
    let reply = server.get("/api/experiments").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    let entries = reply.json();
    let ids: Vec<&str> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    let every: Vec<&str> = linger::experiments::ALL
        .iter()
        .map(|experiment| experiment.id())
        .collect();
    assert!(!every.is_empty());
    assert_eq!(ids, every, "in the order of the list");
    for entry in entries.as_array().unwrap() {
        for key in [
            "title",
            "question",
            "family",
            "modes",
            "params",
            "references",
            "runs_as",
        ] {
            assert!(entry.get(key).is_some(), "{key} of {}", entry["id"]);
        }
        for param in entry["params"].as_array().unwrap() {
            for key in [
                "name",
                "type",
                "unit",
                "min",
                "max",
                "default",
                "description",
            ] {
                assert!(param.get(key).is_some(), "{key} of {param}");
            }
        }
    }
}

#[tokio::test]
async fn the_doctor_says_what_was_tried() {
    let server = Server::start().await;
    let report = server.get("/api/doctor").await.json();
    assert!(["packets", "relay"].contains(&report["mode"].as_str().unwrap()));
    assert!(!report["checks"].as_array().unwrap().is_empty());
}

/// Every `$ref` within a document.
fn references(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.push(reference.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_openapi_document_describes_the_routes_that_there_are() {
    let server = Server::start().await;
    let document = server.get("/api/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let mut operations: Vec<String> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect();
    operations.sort();
    assert_eq!(
        operations,
        [
            "delete /api/runs/{id}",
            "get /api/doctor",
            "get /api/experiments",
            "get /api/runs",
            "get /api/runs/{id}",
            "get /api/runs/{id}/events",
            "get /api/runs/{id}/export/{format}",
            "post /api/runs",
            "post /api/runs/{id}/actions",
            "post /api/runs/{id}/stop",
        ]
    );
    // Every operation is answered by its handler: with a run that is not there, by 404 for the run.
    for operation in &operations {
        let (method, path) = operation.split_once(' ').unwrap();
        let body = match path.ends_with("actions") {
            true => json!({"action": "heal"}).to_string(),
            false => "{}".to_owned(),
        };
        let path = path.replace("{id}", "none").replace("{format}", "jsonl");
        let reply = server
            .send(&method.to_uppercase(), &path, &[JSON], &body)
            .await;
        let kind = reply.json()["type"].as_str().map(str::to_owned);
        assert_ne!(kind.as_deref(), Some("/problems/not-found"), "{operation}");
        assert_ne!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{operation}");
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    let value = document
        .pointer("/components/schemas/RunRequest/properties/params/additionalProperties/$ref");
    assert_eq!(value, Some(&json!("#/components/schemas/Value")));
    for schema in [
        "Event",
        "Fact",
        "Header",
        "RunInfo",
        "Problem",
        "StreamMessage",
    ] {
        assert!(
            document["components"]["schemas"].get(schema).is_some(),
            "{schema}"
        );
    }
}

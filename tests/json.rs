//! The documents for programs: their schemas are those in `docs/schema/`, what is served is as they say, and nothing in
//! it shows what it was written in.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use mpswarden::export::document::{IncidentsDocument, schemas};
use mpswarden::export::{BuildInfo, Exporter};
use mpswarden::model::Status;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::schema::{self, complaints};
use crate::terminal::made;

/// The document of a status, on a machine that booted at a known time.
fn document(status: Status) -> Value {
    let build = BuildInfo { version: "0.1.0", revision: "x", rustc: "x" };
    let boot = || UNIX_EPOCH + Duration::from_secs_f64(made::NOW - 1000.0);
    let (_sender, receiver) = watch::channel(Arc::new(status));
    let exporter = Exporter::new(build, boot, receiver);
    exporter.set_http("127.0.0.1:10677", Some("it is taken".to_owned()));
    serde_json::from_slice(&exporter.status_json().unwrap()).unwrap()
}

fn incidents() -> Value {
    let incidents = made::incidents();
    serde_json::to_value(IncidentsDocument::of(incidents.iter().map(Arc::as_ref))).unwrap()
}

/// `UPDATE=1` rewrites them.
#[test]
fn the_schemas_in_the_documentation_are_those_of_the_documents() {
    for (name, schema) in schemas() {
        let text = format!("{:#}\n", schema.as_value());
        let file = schema::file(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(committed, text, "{}: look at the difference, then UPDATE=1", file.display());
    }
}

#[test]
fn every_status_and_every_incident_is_as_its_schema_says() {
    for status in [made::well(), made::sharing(), made::troubled()] {
        schema::assert_is("status", &document(status));
    }
    schema::assert_is("incidents", &incidents());
    schema::assert_is("incidents", &json!({ "incidents": [] }));
}

#[test]
fn a_document_that_is_not_as_its_schema_says_is_found() {
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema::file("status")).unwrap()).unwrap();
    let right = document(made::well());
    for (pointer, wrong, said) in [
        ("/groups/0/state", json!("happy"), "fits none|is none of"),
        ("/groups/0/generation", json!("2"), "is not of type"),
        ("/groups/0/engines/0/cpu_seconds", json!({ "secs": 90, "nanos": 0 }), "is not of type"),
        ("/ready", Value::Null, "is not of type"),
    ] {
        let mut document = right.clone();
        *document.pointer_mut(pointer).unwrap() = wrong;
        let found = complaints(&schema, &document).join("\n");
        assert!(said.split('|').any(|said| found.contains(said)), "{pointer}: {found}");
    }
    let mut document = right.clone();
    document["more"] = json!(1);
    assert_eq!(complaints(&schema, &document), ["$.more is not in the schema"]);
    document = right;
    document.as_object_mut().unwrap().remove("ready");
    assert_eq!(complaints(&schema, &document), ["$: \"ready\" is missing"]);
}

#[test]
fn times_are_told_in_rfc_3339_and_as_seconds() {
    let status = document(made::troubled());
    let both = |at: &Value, name: &str| (at[name].clone(), at[format!("{name}_timestamp_seconds")].clone());
    let (time, seconds) = (json!("2026-11-22T23:05:02.000Z"), json!(made::NOW));
    assert_eq!((&status["time"], &status["timestamp_seconds"]), (&time, &seconds));
    let recovery = &status["groups"][0]["recovery"];
    assert_eq!(both(recovery, "since"), (json!("2026-11-22T23:04:59.000Z"), json!(made::NOW - 3.0)));
    let incident = &incidents()["incidents"][0];
    assert_eq!(both(incident, "evidence_at"), (time, seconds));
    assert_eq!(incident["lines"][2]["took_seconds"], json!(0.0031));
    let open = &incidents()["incidents"][1];
    assert_eq!(both(open, "ended_at"), (Value::Null, Value::Null));
}

/// Every name with the path to it.
fn names(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.push((format!("{path}.{name}"), value.clone()));
            names(value, &format!("{path}.{name}"), found);
        }),
        Value::Array(items) => items.iter().for_each(|item| names(item, &format!("{path}[]"), found)),
        _ => {}
    }
}

#[test]
fn nothing_shows_what_it_was_written_in() {
    let mut found = Vec::new();
    for status in [made::well(), made::sharing(), made::troubled()] {
        names(&document(status), "", &mut found);
    }
    names(&incidents(), "", &mut found);
    for (path, value) in &found {
        let name = path.rsplit('.').next().unwrap();
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(plain && !["secs", "nanos"].contains(&name), "{path}");
        // What a unit has is a number, and an array holds things of one kind.
        let unit = ["_seconds", "_bytes", "_ratio", "_total"].iter().any(|unit| name.ends_with(unit));
        assert!(!unit || value.is_number() || value.is_null(), "{path}: {value}");
        let mixed = value.as_array().is_some_and(|items| {
            items.iter().any(|item| std::mem::discriminant(item) != std::mem::discriminant(&items[0]))
        });
        assert!(!mixed && !value.as_array().is_some_and(|items| items.iter().any(Value::is_array)), "{path}: {value}");
    }
    assert!(found.len() > 400, "{}", found.len());
}

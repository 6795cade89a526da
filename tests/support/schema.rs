//! Whether a document is as its schema in `docs/schema/` says. It knows what those schemas use and refuses the rest, and
//! is stricter than a schema in one thing: a property that the schema does not name is a mistake.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// The file of a schema.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{name}.schema.json"))
}

/// Panics where a document is not as its committed schema says.
pub fn assert_is(name: &str, document: &Value) {
    let schema: Value = serde_json::from_str(&fs::read_to_string(file(name)).unwrap()).unwrap();
    let wrong = complaints(&schema, document);
    assert!(wrong.is_empty(), "{name} is not as its schema says:\n{}\n{document:#}", wrong.join("\n"));
}

/// Everything in a document that its schema does not allow.
pub fn complaints(schema: &Value, document: &Value) -> Vec<String> {
    complaints_by(schema, schema, document)
}

/// The same, where what the schema refers to is defined in another document.
pub fn complaints_by(schema: &Value, definitions: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { root: definitions, found: &mut found }.value(schema, document, "$");
    found
}

struct Check<'a> {
    root: &'a Value,
    found: &'a mut Vec<String>,
}

impl Check<'_> {
    fn value(&mut self, schema: &Value, value: &Value, path: &str) {
        let rules = schema.as_object().unwrap_or_else(|| panic!("{path}: {schema} is no schema"));
        for (rule, said) in rules {
            match rule.as_str() {
                "$ref" => {
                    let (_, name) = said.as_str().and_then(|said| said.split_once("#/$defs/")).unwrap();
                    self.value(&self.root["$defs"][name], value, path);
                }
                "anyOf" | "oneOf" => self.any(said.as_array().unwrap(), value, path),
                "enum" => {
                    self.holds(said.as_array().unwrap().contains(value), path, &format!("{value} is none of {said}"))
                }
                "type" => self.holds(is_of(said, value), path, &format!("{value} is not of type {said}")),
                "required" => {
                    for name in said.as_array().unwrap() {
                        let there = value.get(name.as_str().unwrap()).is_some() || !value.is_object();
                        self.holds(there, path, &format!("{name} is missing"));
                    }
                }
                "properties" => self.properties(said, value, path),
                // Without it nothing else may be there either.
                "additionalProperties" if said.is_boolean() => {}
                "additionalProperties" => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        self.value(said, value, &format!("{path}.{name}"));
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(said, item, &format!("{path}[{index}]"));
                    }
                }
                "minimum" => {
                    self.holds(value.as_f64().is_none_or(|value| value >= said.as_f64().unwrap()), path, "too small")
                }
                "maximum" => {
                    self.holds(value.as_f64().is_none_or(|value| value <= said.as_f64().unwrap()), path, "too large")
                }
                "$schema" | "$id" | "$defs" | "title" | "description" | "format" => {}
                other if other.starts_with("x-kubernetes-") => {}
                other => panic!("{path}: this check does not know {other:?}"),
            }
        }
    }

    fn holds(&mut self, holds: bool, path: &str, why: &str) {
        if !holds {
            self.found.push(format!("{path}: {why}"));
        }
    }

    fn any(&mut self, schemas: &[Value], value: &Value, path: &str) {
        let fits = schemas.iter().any(|schema| {
            let mut found = Vec::new();
            Check { root: self.root, found: &mut found }.value(schema, value, path);
            found.is_empty()
        });
        self.holds(fits, path, &format!("{value} fits none of its forms"));
    }

    fn properties(&mut self, known: &Value, value: &Value, path: &str) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match known.get(name) {
                Some(schema) => self.value(schema, value, &format!("{path}.{name}")),
                None => self.found.push(format!("{path}.{name} is not in the schema")),
            }
        }
    }
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other:?} is known"),
    };
    types.as_array().map_or_else(|| is(types), |types| types.iter().any(is))
}

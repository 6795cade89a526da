//! The dashboards as they are shipped: their panels, variables and queries. It judges nothing.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One file.
pub struct Dashboard {
    /// Its name without `.json`.
    pub file: String,
    /// All of it.
    pub json: Value,
}

/// What is asked of Prometheus.
pub struct Query {
    /// Dashboard, panel and reference, for people.
    pub place: String,
    /// Expression with Grafana's variables in it.
    pub expr: String,
    /// How a series is called; empty where the panel shows columns instead.
    pub legend: String,
}

/// All of them, by file name.
pub fn dashboards() -> Vec<Dashboard> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert_eq!(files.len(), 3);
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Dashboard {
    let json = serde_json::from_slice(&fs::read(file).unwrap()).unwrap_or_else(|why| panic!("{file:?}: {why}"));
    Dashboard { file: file.file_stem().unwrap().to_str().unwrap().to_owned(), json }
}

impl Dashboard {
    /// Panels and rows.
    pub fn everything(&self) -> &[Value] {
        list(&self.json["panels"])
    }

    /// Panels that show something.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.everything().iter().filter(|panel| panel["type"] != "row")
    }

    /// Variables, in order.
    pub fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }

    /// Place of a panel for people.
    pub fn place(&self, panel: &Value) -> String {
        format!("{}: {}", self.file, text(&panel["title"]))
    }

    /// Every panel's.
    fn panel_queries(&self) -> impl Iterator<Item = Query> {
        self.panels().flat_map(|panel| list(&panel["targets"]).iter().map(|target| self.query(panel, target)))
    }

    fn query(&self, panel: &Value, target: &Value) -> Query {
        Query {
            place: format!("{} {}", self.place(panel), text(&target["refId"])),
            expr: text(&target["expr"]).to_owned(),
            legend: target["legendFormat"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Every panel's and every annotation's.
    pub fn queries(&self) -> Vec<Query> {
        let annotations = list(&self.json["annotations"]["list"]).iter().filter(|one| one["builtIn"] != 1);
        let query = |one: &Value| Query {
            place: format!("{}: annotation {}", self.file, text(&one["name"])),
            expr: text(&one["expr"]).to_owned(),
            legend: format!("{} {}", text(&one["titleFormat"]), text(&one["textFormat"])),
        };
        self.panel_queries().chain(annotations.map(query)).collect()
    }
}

/// A list; panics where there is none.
pub fn list(json: &Value) -> &[Value] {
    json.as_array().unwrap_or_else(|| panic!("no list: {json}"))
}

/// A text; panics where there is none.
pub fn text(json: &Value) -> &str {
    json.as_str().unwrap_or_else(|| panic!("no text: {json}"))
}

//! Panels lie on Grafana's grid of 24 columns: none over another, no hole between them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dashboards::shipped::dashboards;

const COLUMNS: u64 = 24;

fn place(panel: &Value, key: &str) -> u64 {
    panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("no {key}: {}", panel["title"]))
}

fn cells(panel: &Value) -> Vec<(u64, u64)> {
    let (x, y) = (place(panel, "x"), place(panel, "y"));
    let rows = y..y + place(panel, "h");
    rows.flat_map(|row| (x..x + place(panel, "w")).map(move |column| (row, column))).collect()
}

#[test]
fn panels_fill_the_grid_and_none_lies_over_another() {
    for dashboard in dashboards() {
        let mut taken: BTreeMap<(u64, u64), &Value> = BTreeMap::new();
        for panel in dashboard.everything() {
            for cell in cells(panel) {
                assert!(cell.1 < COLUMNS, "{}: {} is too wide", dashboard.file, panel["title"]);
                let other = taken.insert(cell, &panel["title"]);
                assert!(other.is_none(), "{}: {} lies over {other:?}", dashboard.file, panel["title"]);
            }
        }
        let height = taken.keys().map(|(row, _)| row + 1).max().unwrap();
        assert_eq!(u64::try_from(taken.len()).unwrap(), height * COLUMNS, "{} has a hole", dashboard.file);
    }
}

#[test]
fn panels_are_listed_from_the_top_left() {
    for dashboard in dashboards() {
        let order: Vec<_> = dashboard.everything().iter().map(|panel| (place(panel, "y"), place(panel, "x"))).collect();
        assert!(order.is_sorted(), "{}", dashboard.file);
    }
}

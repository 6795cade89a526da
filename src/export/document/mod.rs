//! The documents that programs read: `/api/v1/status`, `/api/v1/incidents` and what `--json` prints. Their names and
//! units are promised, whatever the core calls them: `docs/schema/` has their JSON Schemas, made of these types. Plain
//! data; each is made whole of what the core knows, and no field of that is forgotten: the compiler asks for it.

mod engine;
mod group;
mod incident;
mod machine;
mod status;
mod times;
mod word;

pub use incident::{IncidentDocument, IncidentsDocument};
pub(super) use status::Running;
pub use status::StatusDocument;
pub use times::Wall;

/// The documents by the names of their schemas.
pub fn schemas() -> [(&'static str, schemars::Schema); 2] {
    let generator = || schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
    [
        ("status", generator().into_root_schema_for::<StatusDocument>()),
        ("incidents", generator().into_root_schema_for::<IncidentsDocument>()),
    ]
}

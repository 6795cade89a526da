//! The number of a launch, kept on disk with what was learnt of an engine: another one for each other process that is
//! launched, the same one in every version of this program and of its compiler.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::configuration::EngineConfiguration;

/// What makes a process another one, in the order in which it is hashed: a changed field or order changes every
/// number, and everything learnt is forgotten once.
#[derive(Serialize)]
struct Launched<'e> {
    command: &'e [String],
    user: Option<&'e str>,
    working_directory: Option<Cow<'e, str>>,
    environment: &'e BTreeMap<String, String>,
    environment_file: Option<Cow<'e, str>>,
    sm_percentage: Option<f64>,
    device_memory_limit: Option<u64>,
    memory_max: Option<u64>,
    probe: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<String>,
}

/// The first eight bytes of the SHA-256 of what is launched, as JSON. How the engine is watched is not part of it, so
/// that a new key of the configuration changes nothing.
pub(super) fn launch_number(engine: &EngineConfiguration) -> u64 {
    let launched = Launched {
        command: &engine.command,
        user: engine.user.as_deref(),
        working_directory: engine.working_directory.as_deref().map(Path::to_string_lossy),
        environment: &engine.environment,
        environment_file: engine.environment_file.as_deref().map(Path::to_string_lossy),
        sm_percentage: engine.sm_percentage,
        device_memory_limit: engine.device_memory_limit,
        memory_max: engine.memory_max,
        probe: engine.probe,
        external: engine.external.as_ref().map(|external| external.at.to_string()),
    };
    // Maps of strings, numbers and texts always have a JSON.
    let json = serde_json::to_vec(&launched).unwrap_or_default();
    let digest = digest(&SHA256, &json);
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    const FILE: &str = r#"
        [[group]]
        name = "small-llms"
        mode = "enforce"
        gpu = 0
        [[group.engine]]
        name = "qwen-a"
        command = ["vllm", "serve", "Qwen/Qwen2.5-0.5B", "--port", "8001"]
        url = "http://127.0.0.1:8001"
        environment = { B = "2", A = "1" }
        sm_percentage = 33.5
        device_memory_limit = "40GiB"
    "#;

    fn number(file: &str) -> u64 {
        launch_number(&parse(file, Path::new("test.toml")).unwrap().groups[0].engines[0])
    }

    #[test]
    fn a_launch_has_the_same_number_for_ever() {
        assert_eq!(number(FILE), 0x2344_4a0d_9020_fe4b);
    }

    #[test]
    fn another_process_has_another_number_and_other_watching_has_not() {
        for (from, to) in [("8001\"]", "8002\"]"), ("A = \"1\"", "A = \"3\""), ("33.5", "33.6"), ("40GiB", "41GiB")] {
            assert_ne!(number(&FILE.replace(from, to)), number(FILE), "{to}");
        }
        assert_eq!(number(&FILE.replace("url = ", "hang_after = \"99s\"\n        url = ")), number(FILE));
    }
}

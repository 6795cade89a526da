//! The secrets that a configuration and its environment files hold, so that a bundle hides them wherever they stand.

use crate::config::Configuration;
use crate::host::evidence;
use crate::text::secrets::{Secrets, is_secret};

/// Most bytes of an environment file.
const LARGEST_FILE: u64 = 1 << 20;

/// The secrets that are known.
pub(super) struct Known {
    pub values: Vec<String>,
    /// Sentence for people about what was looked through.
    pub summary: String,
}

/// Everything that looks like a secret in there; `None`: there is no file.
pub(super) fn known(configuration: Option<&Result<Configuration, String>>, looks: &Secrets) -> Known {
    let configuration = match configuration {
        None => {
            let summary = "The configuration has no file: demo made it, without secrets.".to_owned();
            return Known { values: Vec::new(), summary };
        }
        Some(Err(why)) => {
            let summary = format!("The configuration's own secrets were NOT looked for elsewhere: {why}.");
            return Known { values: Vec::new(), summary };
        }
        Some(Ok(configuration)) => configuration,
    };
    let mut values = configuration.secrets(looks);
    let mut summary =
        "So are the secrets of the configuration and of its environment files, wherever they stand.".to_owned();
    let engines = configuration.groups.iter().flat_map(|group| &group.engines);
    for file in engines.filter_map(|engine| engine.environment_file.as_deref()) {
        match evidence::whole(file, LARGEST_FILE) {
            Ok(text) => values.extend(text.lines().filter_map(secret_of)),
            Err(error) => summary.push_str(&format!(" NOT those of {}: {error}.", file.display())),
        }
    }
    Known { values, summary }
}

/// The secret of a line `NAME=value`, perhaps in quotes.
fn secret_of(line: &str) -> Option<String> {
    let (name, value) = line.trim_start().split_once('=')?;
    let value = value.trim().trim_matches(['"', '\'']);
    is_secret(name, value).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_an_environment_file_is_found_with_its_quotes_or_without() {
        assert_eq!(secret_of("HF_TOKEN=abcd"), Some("abcd".to_owned()));
        assert_eq!(secret_of("API_KEY = \"a b c\" "), Some("a b c".to_owned()));
        assert_eq!(secret_of("LEVEL=INFO"), None);
        assert_eq!(secret_of("# nothing"), None);
    }
}

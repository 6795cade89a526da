//! `mpswarden study compare`: reads studies that were made, and shows them beside each other.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::CompareOptions;
use crate::files;
use crate::study::compare::{Comparison, Given, StudyFile, read_study};

use super::refusal::Refusal;
use super::study::{logged, say, width};

/// Shows the studies beside each other.
pub fn compare_studies(options: &CompareOptions) -> ExitCode {
    logged(|| compare(options))
}

fn compare(options: &CompareOptions) -> Result<ExitCode, Refusal> {
    let given = options.studies.iter().map(|one| {
        let StudyFile { path, study } = read_study(&one.path).map_err(Refusal::unavailable)?;
        Ok(Given { name: one.name.clone(), from: path.display().to_string(), study })
    });
    let comparison = Comparison::of(given.collect::<Result<Vec<_>, Refusal>>()?);
    if options.json {
        let document = serde_json::to_string_pretty(&comparison.document());
        say(&format!("{}\n", document.map_err(Refusal::unavailable)?));
    } else {
        say(&comparison.table(width()));
    }
    if let Some(path) = &options.html {
        write(path, &comparison.html())?;
        if !options.json {
            say(&format!("\nThe page: {}\n", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, page: &str) -> Result<(), Refusal> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    files::replace(path, Path::new(&beside), page.as_bytes(), 0o644, false)
        .map_err(|error| Refusal::io(&format!("write the page to `{}`", path.display()), &error))
}

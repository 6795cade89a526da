//! A configuration that others may read, and the secrets in one. Pure.

use std::path::PathBuf;

use super::configuration::{Configuration, EngineConfiguration, MetricsUrl};
use crate::model::{RestartBy, Setup};
use crate::text::plain;
use crate::text::secrets::{HIDDEN, Secrets, is_secret};

impl Configuration {
    /// The text of [`Configuration::effective`] without what others must not read: every variable's value, and what
    /// looks like a secret in commands and paths of URLs. It reads back, but starts nothing.
    pub fn shareable(&self, secrets: &Secrets) -> String {
        let mut shared = self.clone();
        shared.hooks.values_mut().for_each(|command| *command = secrets.command(command));
        for group in &mut shared.groups {
            hide_commands(&mut group.mps.restart_by, secrets);
            group.engines.iter_mut().for_each(|engine| hide(engine, secrets));
        }
        plain::lines(&shared.effective())
    }

    /// The text of [`Configuration::shareable`]: what `check` prints is what people paste. The error is a mistake of
    /// ours.
    pub fn shown(&self) -> Result<String, String> {
        let secrets = Secrets::new().map_err(|error| format!("secrets can't be hidden: {error}"))?;
        Ok(self.shareable(&secrets))
    }

    /// The configuration that was read from `file` as it may be shown, with where its logs are.
    pub fn setup(&self, file: Option<PathBuf>) -> Result<Setup, String> {
        let logs = self.groups.iter().map(|group| (group.name.clone(), self.log_directories(group)));
        Ok(Setup {
            // A client may stand elsewhere.
            file: file.map(|file| std::path::absolute(&file).unwrap_or(file)),
            configuration: self.shown()?,
            kernel_log: self.kernel_log.clone(),
            logs: logs.collect(),
        })
    }

    /// The secrets that stand in it, to be found wherever else they stand. Those of environment files are not in it.
    pub fn secrets(&self, secrets: &Secrets) -> Vec<String> {
        let engines = || self.groups.iter().flat_map(|group| &group.engines);
        let variables = engines().flat_map(|engine| &engine.environment);
        let values = variables.filter(|(name, value)| is_secret(name, value)).map(|(_, value)| value.clone());
        let restarts = self.groups.iter().map(|group| &group.mps.restart_by);
        let restarts = restarts
            .chain(engines().filter_map(|engine| Some(&engine.external.as_ref()?.restart_by)))
            .flat_map(commands_of);
        let commands = self.hooks.values().chain(engines().map(|engine| &engine.command)).chain(restarts);
        values.chain(commands.flat_map(|command| secrets.of_command(command))).collect()
    }
}

fn commands_of(restart_by: &RestartBy) -> Vec<&Vec<String>> {
    match restart_by {
        RestartBy::Commands { stop, start } => vec![stop, start],
        RestartBy::Nobody | RestartBy::Signal | RestartBy::Supervisor => Vec::new(),
    }
}

fn hide_commands(restart_by: &mut RestartBy, secrets: &Secrets) {
    if let RestartBy::Commands { stop, start } = restart_by {
        (*stop, *start) = (secrets.command(stop), secrets.command(start));
    }
}

fn hide(engine: &mut EngineConfiguration, secrets: &Secrets) {
    if let Some(external) = &mut engine.external {
        hide_commands(&mut external.restart_by, secrets);
    }
    engine.command = secrets.command(&engine.command);
    engine.environment.values_mut().for_each(|value| *value = HIDDEN.to_owned());
    for path in [&mut engine.health_path, &mut engine.metrics_path] {
        *path = secrets.text(path);
    }
    if let Some(MetricsUrl::At(_, path)) = &mut engine.metrics_url {
        *path = secrets.text(path);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    const FILE: &str = r#"
        [hooks]
        on_held = ["curl", "-H", "Authorization: Bearer s3cret-one", "https://me:s3cret-two@example.com/"]
        [[group]]
        name = "small-llms"
        gpu = 0
        mode = "enforce"
        [[group.engine]]
        name = "qwen-a"
        command = ["sh", "-c", "HF_TOKEN=s3cret-three exec vllm serve m --api-key s3cret-four", "--api-key", "s3cret-five"]
        environment = { PLAIN = "s3cret-six", API_KEY = "s3cret-seven", LEVEL = "INFO" }
        url = "http://127.0.0.1:8001"
        metrics_path = "/metrics?token=s3cret-eight"
    "#;

    #[test]
    fn nothing_secret_is_in_a_shareable_one_and_the_rest_is() {
        let configuration = parse(FILE, Path::new("x.toml")).unwrap();
        let shared = configuration.shareable(&Secrets::new().unwrap());
        assert!(!shared.contains("s3cret") && !shared.contains("INFO"), "{shared}");
        for kept in ["on_held", "example.com", "exec vllm serve m", "name = \"qwen-a\"", "PLAIN = \"[redacted]\""] {
            assert!(shared.contains(kept), "{kept}: {shared}");
        }
        parse(&shared, Path::new("x.toml")).unwrap();
    }

    #[test]
    fn its_secrets_are_known_by_name_or_place() {
        let secrets = Secrets::new().unwrap();
        let known = parse(FILE, Path::new("x.toml")).unwrap().secrets(&secrets);
        for secret in ["three", "four", "five", "seven"] {
            assert!(known.iter().any(|known| known == &format!("s3cret-{secret}")), "{secret}: {known:?}");
        }
        assert!(!known.contains(&"INFO".to_owned()));
    }
}

//! Loads a [`ServiceConfig`] from a text and the environment.

use std::fs;
use std::path::{Path, PathBuf};

use super::yaml::{ConfigError, Finding, Tree};
use super::{DEFAULT_TEMPLATE_PORT, Environment, ServiceConfig, check};

/// A configuration and its warnings.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: ServiceConfig,
    /// To be logged at the start; `weir serve --check` fails for them. Unknown keys are among them:
    /// LiveKit ignores them, and Weir must start with any file that LiveKit starts with.
    pub warnings: Vec<Finding>,
}

/// Why a configuration can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("can't read the configuration {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{origin}: {}", findings(.error))]
    Config {
        /// The file or the variable.
        origin: String,
        error: ConfigError,
    },
}

fn findings(error: &ConfigError) -> String {
    match error.findings.as_slice() {
        [finding] => finding.to_string(),
        _ => format!("\n{error}"),
    }
}

impl ServiceConfig {
    /// Reads the configuration as LiveKit Egress does: the text in `EGRESS_CONFIG_BODY` wins over
    /// `file`, and `file` over the file that `EGRESS_CONFIG_FILE` names. Without any of them, the
    /// environment and the defaults apply.
    ///
    /// # Errors
    /// When the file can't be read, and those of [`ServiceConfig::load`].
    pub fn read(file: Option<&Path>, environment: &Environment) -> Result<Loaded, LoadError> {
        const BODY: &str = "EGRESS_CONFIG_BODY";
        let file =
            file.map(Path::to_owned).or_else(|| environment.get("EGRESS_CONFIG_FILE").map(PathBuf::from));
        let (origin, text) = match (environment.get(BODY), file) {
            (Some(body), _) => (BODY.to_owned(), body.to_owned()),
            (None, Some(path)) => {
                let text = fs::read_to_string(&path);
                let text = text.map_err(|source| LoadError::File { path: path.clone(), source })?;
                (path.display().to_string(), text)
            }
            (None, None) => ("no configuration".to_owned(), String::new()),
        };
        Self::load(&text, environment).map_err(|error| LoadError::Config { origin, error })
    }

    /// Loads a configuration from a text. Values that it leaves out come from the environment, then
    /// from the defaults.
    ///
    /// # Errors
    /// The first value of a wrong type, with its line and without quoting a secret; if all values
    /// can be read, all conflicts between them.
    pub fn load(text: &str, environment: &Environment) -> Result<Loaded, ConfigError> {
        let tree = Tree::parse(text)?;
        let (mut config, mut unknown): (Self, Vec<Finding>) = tree.read()?;
        // The storage keys stand at the top level beside the others: a key is unknown if neither
        // reader knows it.
        let (storage, unknown_storage) = tree.read()?;
        config.storage = storage;
        unknown.retain(|finding| !tree.is_top(finding) || unknown_storage.contains(finding));
        unknown.extend(unknown_storage.into_iter().filter(|finding| !tree.is_top(finding)));

        let mut warnings = unknown.into_iter().map(check::with_hint).collect::<Vec<_>>();
        let mut errors = Vec::new();
        config.complete(environment);
        check::check(&config, &tree, environment, &mut |finding| errors.push(finding), &mut |finding| {
            warnings.push(finding);
        });
        warnings.sort_by_key(|finding| (finding.place.is_none(), finding.place));
        if errors.is_empty() {
            Ok(Loaded { config, warnings })
        } else {
            Err(ConfigError { findings: errors })
        }
    }

    /// Fills in values that the text left out.
    fn complete(&mut self, environment: &Environment) {
        let variable = |name: &str| environment.get(name).unwrap_or_default().to_owned();
        if self.api_key.is_empty() {
            self.api_key = variable("LIVEKIT_API_KEY");
        }
        if self.api_secret.expose().is_empty() {
            self.api_secret = crate::secret::Secret::new(variable("LIVEKIT_API_SECRET"));
        }
        if self.ws_url.is_empty() {
            self.ws_url = variable("LIVEKIT_WS_URL");
        }
        self.cpu_request = environment.get("LIVEKIT_CPU_REQUEST").and_then(cores);
        if self.template_port == 0 {
            self.template_port = DEFAULT_TEMPLATE_PORT;
        }
        if self.io_workers <= 0 {
            self.io_workers = 5;
        }
        if self.pulse_sink_reap_grace_sec == 0 {
            self.pulse_sink_reap_grace_sec = 30;
        }
        let rate = &mut self.audio_tempo_controller.adjustment_rate;
        if !(*rate > 0.0 && *rate <= 0.2) {
            *rate = 0.05;
        }
        self.cpu_cost.complete();
        self.latency.complete();
        self.latency_overrides.each().for_each(|(_, latency)| latency.complete());
        if self.webhook.api_key.is_empty() {
            self.webhook.api_key.clone_from(&self.api_key);
        }
        self.work_dir = self.work_dir.take().or_else(|| environment.work_dir());
        self.store = self.store.take().or_else(|| Some(self.work_dir.as_ref()?.join("weir.redb")));
    }
}

/// Parses a number of CPU cores.
pub(super) fn cores(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|cores: &f64| cores.is_finite() && *cores > 0.0)
}

//! The configuration file: read at the start and after each change; the last good configuration stays in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sriov_config::{Finding, Mistakes, ResourceList};
use sriov_host::chain;
use sriov_node::counts::Metrics;

use crate::settings::Settings;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the configuration `{}` is wrong", path.display())]
    Wrong { path: PathBuf, source: Mistakes },
}

/// The configuration file with the last good configuration.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    resource_prefix: String,
    /// The content of the newest file, good or not.
    text: String,
    /// The last good configuration.
    pub(super) resources: Arc<ResourceList>,
}

impl ConfigFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be read, or no resource of it can be used.
    pub(super) fn load(settings: &Settings) -> Result<Self, ConfigError> {
        let path = settings.config_file.clone();
        let text = read(&path)?;
        let resources = parse(&path, &text, &settings.resource_prefix)?;
        Ok(Self {
            path,
            resource_prefix: settings.resource_prefix.clone(),
            text,
            resources: Arc::new(resources),
        })
    }

    /// Reads the file again; uses it when it changed and has no mistake.
    pub(super) fn reload(&mut self, metrics: &Metrics) {
        let text = match read(&self.path) {
            Ok(text) if text == self.text => return,
            Ok(text) => text,
            // A ConfigMap that is being replaced may be missing for a moment.
            Err(error) => {
                tracing::warn!(error = %chain(&error), "keeping the last good configuration");
                return;
            }
        };
        let parsed = parse(&self.path, &text, &self.resource_prefix);
        self.text = text;
        metrics.count(|counts| counts.read_config(parsed.as_ref().ok()));
        match parsed {
            Ok(resources) if resources.unusable.is_empty() => {
                tracing::info!("the configuration changed");
                self.resources = Arc::new(resources);
            }
            Ok(_) => tracing::error!("keeping the last good configuration"),
            Err(error) => {
                tracing::error!(error = %chain(&error), "keeping the last good configuration");
            }
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Parses the file, and logs its mistakes and warnings.
fn parse(path: &Path, text: &str, resource_prefix: &str) -> Result<ResourceList, ConfigError> {
    let resources = ResourceList::parse(text, resource_prefix).map_err(|refused| {
        log_warnings(path, &refused.warnings);
        ConfigError::Wrong {
            path: path.to_owned(),
            source: refused.mistakes,
        }
    })?;
    for mistake in resources.mistakes() {
        tracing::error!("{}: {mistake}", path.display());
    }
    log_warnings(path, &resources.warnings);
    Ok(resources)
}

fn log_warnings(path: &Path, warnings: &[Finding]) {
    for warning in warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
}

//! The configuration file: read at the start and after each change; the last good configuration stays in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::counts::{Counts, Shared};
use sriov_config::{Finding, Mistakes, ResourceList};
use sriov_host::chain;

use super::last_good::LastGood;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No resource of it can be used.
    #[error("the configuration `{}` is wrong", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The mistakes.
        source: Mistakes,
    },
}

/// Where the configuration is.
#[derive(Clone, Debug)]
pub struct ConfigPlace {
    /// The file.
    pub path: PathBuf,
    /// Prefix of resources that name none.
    pub resource_prefix: String,
    /// Directory of the device-info files, which has the copy of the last good configuration.
    pub devinfo_dir: PathBuf,
}

/// The configuration file with the last good configuration.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    resource_prefix: String,
    last_good: LastGood,
    /// The content of the newest file, good or not.
    text: String,
    /// The last good configuration.
    pub resources: Arc<ResourceList>,
}

impl ConfigFile {
    /// Reads the file for the first time. If it has a mistake, the last good configuration of an earlier process is used.
    ///
    /// # Errors
    /// When it cannot be read, or no resource of it can be used and there is no good one.
    pub fn load(place: ConfigPlace, counts: &Shared<Counts>) -> Result<Self, ConfigError> {
        let ConfigPlace {
            path,
            resource_prefix: prefix,
            devinfo_dir,
        } = place;
        let last_good = LastGood::of(&path, &devinfo_dir);
        let text = read(&path)?;
        let parsed = parse(&path, &text, &prefix);
        counts.count(|counts| counts.read_config(parsed.as_ref().ok()));
        let resources = match parsed {
            Ok(resources) if resources.unusable.is_empty() => {
                save(&last_good, &text);
                resources
            }
            wrong => match last_good.read(&prefix) {
                Some(resources) => {
                    if let Err(error) = &wrong {
                        tracing::error!(error = %chain(error), "the configuration is not used");
                    }
                    let saved = last_good.path().display();
                    tracing::error!(%saved, "using the last good configuration, which is older than the file");
                    counts.count(|counts| counts.config.is_outdated = true);
                    resources
                }
                None => wrong?,
            },
        };
        Ok(Self {
            path,
            resource_prefix: prefix,
            last_good,
            text,
            resources: Arc::new(resources),
        })
    }

    /// Reads the file again; uses it when it changed and has no mistake.
    pub fn reload(&mut self, counts: &Shared<Counts>) {
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
        counts.count(|counts| {
            counts.read_config(parsed.as_ref().ok());
            counts.config.is_outdated = !counts.config.is_valid;
        });
        match parsed {
            Ok(resources) if resources.unusable.is_empty() => {
                tracing::info!("the configuration changed");
                save(&self.last_good, &self.text);
                self.resources = Arc::new(resources);
            }
            Ok(_) => tracing::error!("keeping the last good configuration"),
            Err(error) => {
                tracing::error!(error = %chain(&error), "keeping the last good configuration");
            }
        }
    }
}

/// The copy is for a later start only: this process works without it.
fn save(last_good: &LastGood, text: &str) {
    if let Err(error) = last_good.save(text) {
        let path = last_good.path().display();
        tracing::warn!(%path, %error, "cannot save the configuration for a later start");
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

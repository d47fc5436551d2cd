//! The parameters in an allocation: those of the class first, then those of the claim, each for all requests or for some.

use k8s_openapi::api::resource::v1::DeviceAllocationConfiguration;
use sriov_config::Mistakes;
use sriov_config::vf_config::{Accepted, VfConfig};

use super::request_of;
use crate::settings::DriverName;

/// The configurations for this driver, those that win last.
pub(super) struct Configs(Vec<ForRequests>);

struct ForRequests {
    /// Empty for all requests.
    requests: Vec<String>,
    config: VfConfig,
}

impl Configs {
    /// Reads the configurations for a driver.
    ///
    /// # Errors
    /// All mistakes of all configurations.
    pub(super) fn read(
        all: &[DeviceAllocationConfiguration],
        driver: &DriverName,
        accepted: Accepted,
    ) -> Result<Self, Mistakes> {
        let (mut of_class, mut of_claim) = (Vec::new(), Vec::new());
        let mut mistakes = Vec::new();
        for (index, one) in all.iter().enumerate() {
            let ours = one
                .opaque
                .iter()
                .find(|opaque| opaque.driver == driver.as_str());
            let Some(opaque) = ours else { continue };
            let path = format!("status.allocation.devices.config[{index}].opaque.parameters");
            match VfConfig::parse(&opaque.parameters.0, &path, accepted) {
                Ok(config) => {
                    let configs = if one.source == "FromClass" {
                        &mut of_class
                    } else {
                        &mut of_claim
                    };
                    configs.push(ForRequests {
                        requests: one.requests.clone().unwrap_or_default(),
                        config,
                    });
                }
                Err(found) => mistakes.extend(found.0),
            }
        }
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        of_class.append(&mut of_claim);
        Ok(Self(of_class))
    }

    /// The merged configuration of a request, which may be a sub-request.
    pub(super) fn of(&self, request: &str) -> VfConfig {
        let is_for = |requests: &[String]| {
            requests.is_empty()
                || requests
                    .iter()
                    .any(|name| name == request || name == request_of(request))
        };
        let ours = self.0.iter().filter(|one| is_for(&one.requests));
        ours.fold(VfConfig::default(), |merged, one| {
            merged.overridden_by(one.config.clone())
        })
    }
}

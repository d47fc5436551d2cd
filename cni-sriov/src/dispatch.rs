//! Calls the verb that the runtime requests.

use serde_json::{Value, json};
use sriov_config::netconf::CniVersion;

use crate::failure::Failure;
use crate::journal::Journal;
use crate::request::{Environment, Verb};
use crate::setup::Setup;
use crate::verbs;

/// Carries out a verb; the document, if any, is for standard output.
///
/// # Errors
/// The failure, which [`Failure::document`] turns into the document of the specification.
pub async fn run(
    setup: &Setup,
    verb: Verb,
    environment: &Environment,
    stdin: &str,
) -> Result<Option<Value>, Failure> {
    let journal = Journal::new(setup.state_dir.clone(), setup.lock_deadline);
    let done = match verb {
        Verb::Version => return Ok(Some(version(stdin))),
        Verb::Add => {
            let request = environment.request(verb, stdin)?;
            return verbs::add(setup, &journal, &request).await.map(Some);
        }
        Verb::Del => verbs::del(setup, &journal, &environment.request(verb, stdin)?).await,
        Verb::Check => verbs::check(setup, &journal, &environment.request(verb, stdin)?).await,
        Verb::Status => verbs::status(setup, &journal, &environment.network(verb, stdin)?).await,
        Verb::Gc => verbs::gc(setup, &journal, &environment.network(verb, stdin)?).await,
    };
    done.map(|()| None)
}

/// The result of VERSION, in the version of the request if there is one.
pub(crate) fn version(stdin: &str) -> Value {
    let conf = serde_json::from_str::<Value>(stdin).unwrap_or_default();
    let requested = conf.get("cniVersion").and_then(Value::as_str);
    json!({
        "cniVersion": requested.unwrap_or(CniVersion::V1_1_0.as_str()),
        "supportedVersions": CniVersion::ALL.map(CniVersion::as_str),
    })
}

//! Validates manifests against the schemas of Kubernetes releases, of the Prometheus operator and of `OpenShift`, which their Go modules contain.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::structs;
use crate::go;

/// The module with the Prometheus operator's types.
const MONITORING: &str = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring";
/// The module with the types of `OpenShift`; its newest tagged release.
const OPENSHIFT: &str = "github.com/openshift/api";
/// Fields of `SecurityContextConstraints` that are newer than that release.
const NEWER: [&str; 1] = ["allowPrivilegeEscalation"];

/// The schemas of one Kubernetes release and of the custom resources.
#[derive(Debug)]
pub(super) struct Schemas {
    /// The release, for instance `v1.34.4`.
    pub(super) release: String,
    definitions: Map<String, Value>,
    /// Names of definitions by API version and kind.
    kinds: BTreeMap<(String, String), String>,
}

impl Schemas {
    /// Those of the Kubernetes release that a directory of `tests/lab/tools` pins.
    ///
    /// # Errors
    /// When Go cannot download a module, or a module does not have what is expected.
    pub(super) fn of(tools: &str) -> Result<Self> {
        let kubernetes = go::sources(tools, "k8s.io/kubernetes")?;
        let text = std::fs::read_to_string(kubernetes.join("api/openapi-spec/swagger.json"))?;
        let mut document: Value = serde_json::from_str(&text)?;
        let Some(Value::Object(definitions)) = document.get_mut("definitions").map(Value::take)
        else {
            bail!("{} has no definitions", kubernetes.display());
        };
        let name = kubernetes.file_name().unwrap_or_default().to_string_lossy();
        let mut schemas = Self {
            release: name.split('@').nth(1).unwrap_or_default().to_owned(),
            definitions,
            kinds: BTreeMap::new(),
        };
        schemas.index();
        let monitoring = go::sources("schemas-newest", MONITORING)?.join("v1");
        let kinds = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];
        schemas.add_go("monitoring.coreos.com/v1", &monitoring, &kinds)?;
        let openshift = go::sources("schemas-newest", OPENSHIFT)?.join("security/v1");
        let kind = "SecurityContextConstraints";
        schemas.add_go("security.openshift.io/v1", &openshift, &[kind])?;
        let name = format!("security.openshift.io/v1.{kind}");
        let known = schemas.definitions.get_mut(&name);
        let known = known.and_then(|known| known.get_mut("properties"));
        let known = known.and_then(Value::as_object_mut).context(kind)?;
        known.extend(NEWER.map(|field| (field.to_owned(), Value::Object(Map::new()))));
        Ok(schemas)
    }

    fn index(&mut self) {
        for (name, definition) in &self.definitions {
            let kinds = definition.get("x-kubernetes-group-version-kind");
            for kind in kinds.and_then(Value::as_array).into_iter().flatten() {
                let of = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default();
                let version = match of("group") {
                    "" => of("version").to_owned(),
                    group => format!("{group}/{}", of("version")),
                };
                let key = (version, of("kind").to_owned());
                self.kinds.insert(key, name.clone());
            }
        }
    }

    fn add_go(&mut self, version: &str, dir: &Path, kinds: &[&str]) -> Result<()> {
        let prefix = format!("{version}.");
        self.definitions.extend(structs::definitions(dir, &prefix)?);
        for kind in kinds {
            let key = (version.to_owned(), (*kind).to_owned());
            self.kinds.insert(key, format!("{prefix}{kind}"));
        }
        Ok(())
    }

    /// The mistakes of a manifest, each with its path.
    pub(super) fn mistakes(&self, manifest: &Value) -> Vec<String> {
        let of = |key: &str| {
            let text = manifest.get(key).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let key = (of("apiVersion"), of("kind"));
        let Some(definition) = self
            .kinds
            .get(&key)
            .and_then(|name| self.definitions.get(name))
        else {
            return vec![format!("{} has no {} {}", self.release, key.0, key.1)];
        };
        let mut mistakes = Vec::new();
        self.check(manifest, definition, &key.1, &mut mistakes);
        mistakes
    }

    fn check(&self, value: &Value, schema: &Value, path: &str, mistakes: &mut Vec<String>) {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let name = name.trim_start_matches("#/definitions/");
            match self.definitions.get(name) {
                Some(schema) => self.check(value, schema, path, mistakes),
                None => mistakes.push(format!("{path}: no schema {name}")),
            }
            return;
        }
        let kind = schema.get("type").and_then(Value::as_str);
        let is_right = match (kind, value) {
            (None, _)
            | (Some("object"), Value::Object(_))
            | (Some("array"), Value::Array(_))
            | (Some("string"), Value::String(_))
            | (Some("boolean"), Value::Bool(_))
            | (Some("number"), Value::Number(_)) => true,
            (Some("integer"), number) => number.is_i64(),
            (Some("string"), number) => {
                let format = schema.get("format").and_then(Value::as_str);
                format == Some("int-or-string") && number.is_i64()
            }
            _ => false,
        };
        if !is_right {
            mistakes.push(format!("{path}: {value} is not of type {kind:?}"));
            return;
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(schema) = schema.get("items") {
                self.check(item, schema, &format!("{path}[{index}]"), mistakes);
            }
        }
        if let Value::Object(fields) = value {
            self.check_fields(fields, schema, path, mistakes);
        }
    }

    fn check_fields(
        &self,
        fields: &Map<String, Value>,
        schema: &Value,
        path: &str,
        mistakes: &mut Vec<String>,
    ) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (name, value) in fields {
            let path = format!("{path}.{name}");
            match properties.and_then(|known| known.get(name)).or(others) {
                Some(schema) => self.check(value, schema, &path, mistakes),
                None if properties.is_some() => mistakes.push(format!("{path} is not a field")),
                None => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                mistakes.push(format!("{path}.{name} is missing"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schemas() -> Schemas {
        let definitions = json!({
            "Pod": {
                "type": "object",
                "required": ["kind"],
                "properties": {
                    "apiVersion": { "type": "string" },
                    "kind": { "type": "string" },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                    "spec": { "$ref": "#/definitions/Spec" },
                },
                "x-kubernetes-group-version-kind": [{ "group": "a.b", "version": "v1", "kind": "Pod" }],
            },
            "Spec": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": { "type": "string" },
                    "port": { "type": "string", "format": "int-or-string" },
                    "list": { "type": "array", "items": { "type": "integer" } },
                },
            },
        });
        let Value::Object(definitions) = definitions else {
            unreachable!("an object")
        };
        let mut schemas = Schemas {
            release: "v1".to_owned(),
            definitions,
            kinds: BTreeMap::new(),
        };
        schemas.index();
        schemas
    }

    #[test]
    fn right_manifest_has_no_mistakes() {
        let right = json!({ "apiVersion": "a.b/v1", "kind": "Pod", "labels": { "x": "y" }, "spec": { "name": "n", "port": 1, "list": [1] } });
        assert_eq!(schemas().mistakes(&right), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_with_its_path() {
        let wrong = json!({ "apiVersion": "a.b/v1", "kind": "Pod", "labels": { "x": 1 }, "spec": { "nmae": "n", "port": true, "list": [1, "2"] } });
        let expected = [
            "Pod.labels.x: 1 is not of type Some(\"string\")",
            "Pod.spec.list[1]: \"2\" is not of type Some(\"integer\")",
            "Pod.spec.nmae is not a field",
            "Pod.spec.port: true is not of type Some(\"string\")",
            "Pod.spec.name is missing",
        ];
        assert_eq!(schemas().mistakes(&wrong), expected);
        let unknown = json!({ "apiVersion": "v1", "kind": "Pod" });
        assert_eq!(schemas().mistakes(&unknown), ["v1 has no v1 Pod"]);
    }
}

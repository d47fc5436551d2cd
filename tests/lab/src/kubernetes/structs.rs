//! Reads schemas out of Go's struct types: custom resources have no other form in a Go module.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// A definition for each struct type of a package, with a prefix to its name.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn definitions(dir: &Path, prefix: &str) -> Result<Map<String, Value>> {
    let mut all = String::new();
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".go") && !name.starts_with("zz_") && !name.ends_with("_test.go") {
            all += &std::fs::read_to_string(&path)?;
        }
    }
    Ok(of_text(&all, prefix))
}

/// The definitions of a source text.
fn of_text(text: &str, prefix: &str) -> Map<String, Value> {
    let structs: Vec<(&str, &str)> = text
        .split("\ntype ")
        .skip(1)
        .filter_map(|part| {
            let (name, rest) = part.split_once(" struct {")?;
            let is_name = name.chars().all(char::is_alphanumeric);
            is_name.then_some((name, rest.split("\n}").next()?))
        })
        .collect();
    let is_struct = |name: &str| structs.iter().any(|(known, _)| *known == name);
    let mut definitions = Map::new();
    for (name, body) in &structs {
        let mut properties = Map::new();
        let mut is_open = false;
        add_fields(
            &structs,
            body,
            prefix,
            &is_struct,
            &mut properties,
            &mut is_open,
        );
        let schema = if is_open || properties.is_empty() {
            json!({})
        } else {
            json!({ "type": "object", "properties": properties })
        };
        definitions.insert(format!("{prefix}{name}"), schema);
    }
    definitions
}

/// Adds the fields of a struct and of those that it embeds; `is_open` when an embedded one is of another package.
fn add_fields(
    structs: &[(&str, &str)],
    body: &str,
    prefix: &str,
    is_struct: &dyn Fn(&str) -> bool,
    properties: &mut Map<String, Value>,
    is_open: &mut bool,
) {
    for line in body.lines().map(str::trim) {
        let Some((code, tag)) = line.split_once("`json:\"") else {
            continue;
        };
        let json_name = tag.split(['"', ',']).next().unwrap_or_default();
        let mut words = code.split_whitespace();
        let (Some(first), kind) = (words.next(), words.next()) else {
            continue;
        };
        match kind {
            // Also an embedded struct that has a name of its own in JSON.
            _ if !json_name.is_empty() => {
                let schema = schema(kind.unwrap_or(first), prefix, is_struct);
                properties.insert(json_name.to_owned(), schema);
            }
            // Metadata of the type: `apiVersion` and `kind`.
            None if first == "metav1.TypeMeta" => {
                for key in ["apiVersion", "kind"] {
                    properties.insert(key.to_owned(), json!({ "type": "string" }));
                }
            }
            _ => {
                let embedded = first.trim_start_matches('*');
                match structs.iter().find(|(name, _)| *name == embedded) {
                    Some((_, body)) => {
                        add_fields(structs, body, prefix, is_struct, properties, is_open);
                    }
                    None => *is_open = true,
                }
            }
        }
    }
}

/// The schema of a field's type; types of other packages and types that are not structs accept any value.
fn schema(kind: &str, prefix: &str, is_struct: &dyn Fn(&str) -> bool) -> Value {
    let kind = kind.trim_start_matches('*');
    if let Some(item) = kind.strip_prefix("[]") {
        return json!({ "type": "array", "items": schema(item, prefix, is_struct) });
    }
    if let Some(value) = kind.strip_prefix("map[string]") {
        return json!({ "type": "object", "additionalProperties": schema(value, prefix, is_struct) });
    }
    match kind {
        "string" => json!({ "type": "string" }),
        "bool" => json!({ "type": "boolean" }),
        "int" | "int32" | "int64" | "uint64" => json!({ "type": "integer" }),
        name if is_struct(name) => json!({ "$ref": format!("#/definitions/{prefix}{name}") }),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_struct_and_of_embedded_ones() {
        let text = "package x\n\ntype Monitor struct {\n\tmetav1.TypeMeta `json:\",inline\"`\n\tmetav1.ObjectMeta `json:\"metadata\"`\n\tSpec Spec `json:\"spec\"`\n}\n\ntype Spec struct {\n\t// Lists the ports.\n\tPorts []*Port `json:\"ports,omitempty\"`\n\tLabels map[string]string `json:\"labels\"`\n\tCommon `json:\",inline\"`\n}\n\ntype Port struct {\n\tName string `json:\"name\"`\n\tTime Duration `json:\"time\"`\n}\n\ntype Common struct {\n\tIs *bool `json:\"is\"`\n}\n\ntype Duration string\n";
        let found = of_text(text, "p.");
        assert_eq!(
            Value::Object(found),
            json!({
                "p.Monitor": { "type": "object", "properties": { "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "metadata": {}, "spec": { "$ref": "#/definitions/p.Spec" } } },
                "p.Spec": { "type": "object", "properties": {
                    "ports": { "type": "array", "items": { "$ref": "#/definitions/p.Port" } },
                    "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                    "is": { "type": "boolean" },
                } },
                "p.Port": { "type": "object", "properties": { "name": { "type": "string" }, "time": {} } },
                "p.Common": { "type": "object", "properties": { "is": { "type": "boolean" } } },
            })
        );
    }

    #[test]
    fn embedded_struct_of_another_package_allows_any_field() {
        let text = "\ntype Open struct {\n\tother.Thing `json:\",inline\"`\n\tName string `json:\"name\"`\n}\n";
        assert_eq!(Value::Object(of_text(text, "")), json!({ "Open": {} }));
    }
}

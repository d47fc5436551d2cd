//! Keys of a JSON document that this program does not know, at any depth: they are kept when the document is written again.

use serde_json::{Map, Value};

/// The keys of `document` that `known` lacks: `known` is what this program writes after it has read the document.
///
/// Objects inside of lists are not searched.
pub(super) fn unknown_keys(document: &Value, known: &Value) -> Map<String, Value> {
    let (Value::Object(document), Value::Object(known)) = (document, known) else {
        return Map::new();
    };
    let found = document.iter().filter_map(|(key, value)| {
        let unknown = match known.get(key) {
            None => value.clone(),
            Some(known) => {
                let deeper = unknown_keys(value, known);
                Some(deeper).filter(|deeper| !deeper.is_empty())?.into()
            }
        };
        Some((key.clone(), unknown))
    });
    found.collect()
}

/// Adds unknown keys to a document; what the document has itself stays.
pub(super) fn add_keys(document: &mut Value, unknown: &Map<String, Value>) {
    let Value::Object(document) = document else {
        return;
    };
    for (key, value) in unknown {
        match document.get_mut(key) {
            None => {
                document.insert(key.clone(), value.clone());
            }
            Some(inner) => {
                if let Value::Object(value) = value {
                    add_keys(inner, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_keys_are_found_at_any_depth() {
        let document =
            json!({ "a": 1, "b": { "c": { "d": 1, "new": [2] }, "e": null }, "new": {} });
        let known = json!({ "a": 7, "b": { "c": { "d": 1 }, "e": {} } });
        let unknown = unknown_keys(&document, &known);
        assert_eq!(
            json!(unknown),
            json!({ "b": { "c": { "new": [2] } }, "new": {} })
        );
        let mut now = json!({ "a": 8, "b": { "c": null } });
        add_keys(&mut now, &unknown);
        // An object that is no longer there takes its unknown keys with it.
        assert_eq!(now, json!({ "a": 8, "b": { "c": null }, "new": {} }));
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<u8>().prop_map(Value::from)];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    /// `document` without some of its keys.
    fn without(document: &Value, mask: u64) -> Value {
        let Value::Object(map) = document else {
            return document.clone();
        };
        let kept = map.iter().enumerate();
        let kept = kept.filter(|(place, _)| mask >> (place % 16) & 1 == 0);
        Value::Object(
            kept.map(|(_, (key, value))| (key.clone(), without(value, mask >> 4)))
                .collect(),
        )
    }

    proptest! {
        #[test]
        fn keys_that_are_taken_away_are_put_back(document in documents(), mask in any::<u64>()) {
            let mut known = without(&document, mask);
            let unknown = unknown_keys(&document, &known);
            add_keys(&mut known, &unknown);
            prop_assert_eq!(known, document);
        }
    }
}

//! The JSON Schema of the configuration, and what it says of a tree, in words for people.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value as Json, json};

use super::layer::{Origins, join};
use super::{Config, Problem};

/// The JSON Schema (draft 2020-12) of a configuration; `eir schema config` prints it.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(Config).to_value();
    for definition in ["ConnectionConfig", "BrokerConfig", "PipelineConfig", "RuleConfig"] {
        let properties = schema.pointer_mut(&format!("/$defs/{definition}/properties"));
        if let Some(Json::Object(properties)) = properties {
            let description = "false takes this table out, as if it were not written.";
            let toggle = json!({ "type": "boolean", "default": true, "description": description });
            properties.insert("enabled".to_owned(), toggle);
        }
    }
    let overlays = json!({
        "type": "object",
        "description": "Overlays, chosen with --profile NAME.",
        "additionalProperties": { "type": "object" },
    });
    if let Some(Json::Object(properties)) = schema.pointer_mut("/properties") {
        properties.insert("profile".to_owned(), overlays);
    }
    schema
}

static VALIDATOR: LazyLock<Option<Validator>> =
    LazyLock::new(|| jsonschema::validator_for(&schema()).ok());

/// Every place where the tree is not as the schema says.
pub(super) fn validate(tree: &Json, origins: &Origins) -> Vec<Problem> {
    let Some(validator) = &*VALIDATOR else { return Vec::new() };
    let mut problems = Vec::new();
    for error in validator.iter_errors(tree) {
        explain(&error, origins, &mut problems);
    }
    problems
}

fn explain(error: &ValidationError<'_>, origins: &Origins, problems: &mut Vec<Problem>) {
    let key = dotted(error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_keys(error.schema_path().as_str());
            for unknown in unexpected {
                problems.push(origins.problem(&join(&key, unknown), unknown_key(unknown, &known)));
            }
        }
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            explain_choice(error, &key, context, origins, problems);
        }
        ValidationErrorKind::Required { property } => {
            let missing = property.as_str().unwrap_or_default();
            problems.push(origins.problem(&key, format!("`{missing}` is missing")));
        }
        ValidationErrorKind::Pattern { pattern } => {
            let message = format!("{} does not match {pattern}", short(error.instance()));
            let example = examples(error.schema_path().as_str());
            problems.push(origins.problem(&key, message + &example));
        }
        _ => problems.push(origins.problem(&key, error.to_string())),
    }
}

/// None of several forms fits. The one that was meant is the one that got furthest.
fn explain_choice(
    error: &ValidationError<'_>,
    key: &str,
    forms: &[Vec<ValidationError<'static>>],
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    let depth = |form: &Vec<ValidationError<'_>>| {
        let deepest = form.iter().map(|e| e.instance_path().as_str().matches('/').count()).max();
        (deepest, std::cmp::Reverse(form.len()))
    };
    let here = error.instance_path().as_str().matches('/').count();
    match forms.iter().max_by_key(|form| depth(form)) {
        Some(meant) if depth(meant).0 > Some(here) => {
            for error in meant {
                explain(error, origins, problems);
            }
        }
        _ => {
            let choices = choices(forms);
            let found = short(error.instance());
            let message = if choices.is_empty() {
                format!("{found} has none of the known forms")
            } else {
                format!("{found} is none of: {}", choices.join(", "))
            };
            problems.push(origins.problem(key, message));
        }
    }
}

/// The words that each form asks for: constants, or the one key of a tagged table.
fn choices(forms: &[Vec<ValidationError<'static>>]) -> Vec<String> {
    let words = forms.iter().flatten().flat_map(|error| match error.kind() {
        ValidationErrorKind::Constant { expected_value } => vec![expected_value.clone()],
        ValidationErrorKind::Enum { options } => options.as_array().cloned().unwrap_or_default(),
        ValidationErrorKind::Required { property } => vec![property.clone()],
        _ => Vec::new(),
    });
    words.filter_map(|word| word.as_str().map(|text| format!("`{text}`"))).collect()
}

fn unknown_key(unknown: &str, known: &[String]) -> String {
    let near = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(key, unknown), key))
        .min()
        .filter(|(distance, key)| *distance <= 1 + key.len() / 3);
    match near {
        Some((_, key)) => format!("unknown key; did you mean `{key}`?"),
        None => format!("unknown key; known are: {}", known.join(", ")),
    }
}

/// The keys that stand beside the `additionalProperties` at this place of the schema.
fn known_keys(schema_path: &str) -> Vec<String> {
    let around = schema_path.rsplit_once('/').map_or("", |(around, _)| around);
    let properties = follow(around).and_then(|schema| schema.get("properties").cloned());
    let keys = properties.and_then(|properties| match properties {
        Json::Object(map) => Some(map.keys().cloned().collect()),
        _ => None,
    });
    keys.unwrap_or_default()
}

fn examples(schema_path: &str) -> String {
    let around = schema_path.rsplit_once('/').map_or("", |(around, _)| around);
    let examples = follow(around).and_then(|schema| schema.get("examples").cloned());
    let words = examples.and_then(|list| list.as_array().cloned()).unwrap_or_default();
    let words: Vec<_> = words.iter().map(ToString::to_string).collect();
    if words.is_empty() { String::new() } else { format!("; write it like {}", words.join(" or ")) }
}

/// Walks a schema path, through `$ref` wherever it meets one.
fn follow(path: &str) -> Option<Json> {
    let root = schema();
    let mut here = &root;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part == "$ref" {
            let target = here.get("$ref")?.as_str()?;
            here = root.pointer(target.strip_prefix('#')?)?;
        } else {
            here = match here {
                Json::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                other => other.get(part.replace("~1", "/").replace("~0", "~"))?,
            };
        }
    }
    Some(here.clone())
}

/// A JSON Pointer as a key of the configuration.
fn dotted(pointer: &str) -> String {
    let parts = pointer.split('/').filter(|part| !part.is_empty());
    parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect::<Vec<_>>().join(".")
}

fn short(value: &Json) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        text
    } else {
        text.chars().take(60).chain("…".chars()).collect()
    }
}

//! The JSON Schema of the configuration, and what it says of a tree, in words for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value as Json, json};

use super::Config;
use super::tree::{Mistakes, join};

/// The JSON Schema (draft 2020-12) of a configuration; `eir schema config` prints it.
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(Config).to_value();
    let named = [
        "ConnectionConfig",
        "CloudConfig",
        "BrokerConfig",
        "PipelineConfig",
        "RuleConfig",
        "OutboxConfig",
        "SummaryConfig",
        "SampleConfig",
        "EscalateConfig",
        "ApiConfig",
        "TracesConfig",
    ];
    for definition in named {
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

static SCHEMA: LazyLock<Json> = LazyLock::new(schema);

static VALIDATOR: LazyLock<Option<Validator>> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).ok());

/// Every place where the tree is not as the schema says.
pub(super) fn validate(tree: &Json, mistakes: &mut Mistakes<'_>) {
    let Some(validator) = &*VALIDATOR else { return };
    let errors: Vec<_> = validator.iter_errors(tree).collect();
    explain_all(&errors, mistakes);
}

/// One line for each value that is wrong: that a number is none of three words also says that it is no
/// word.
fn explain_all(errors: &[ValidationError<'_>], mistakes: &mut Mistakes<'_>) {
    let mut values: BTreeMap<String, &ValidationError<'_>> = BTreeMap::new();
    for error in errors {
        let of_a_key = matches!(
            error.kind(),
            ValidationErrorKind::AdditionalProperties { .. } | ValidationErrorKind::Required { .. }
        );
        if of_a_key {
            explain(error, mistakes);
            continue;
        }
        let told = values.entry(error.instance_path().as_str().to_owned()).or_insert(error);
        if matches!(told.kind(), ValidationErrorKind::Type { .. }) {
            *told = error;
        }
    }
    for error in values.values() {
        explain(error, mistakes);
    }
}

fn explain(error: &ValidationError<'_>, mistakes: &mut Mistakes<'_>) {
    let key = dotted(error.instance_path().as_str());
    let schema_path = error.schema_path().as_str();
    let found = short(error.instance());
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_keys(schema_path);
            for unknown in unexpected {
                mistakes.add(&join(&key, unknown), unknown_key(unknown, &known));
            }
        }
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            explain_choice(error, &key, context, mistakes);
        }
        ValidationErrorKind::Required { property } => {
            let missing = property.as_str().unwrap_or_default();
            mistakes.add(&key, format!("`{missing}` is missing"));
        }
        ValidationErrorKind::Pattern { pattern } => {
            let example = examples(schema_path);
            mistakes.add(&key, format!("{found} does not match {pattern}{example}"));
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().into_iter().flatten().filter(|word| !word.is_null());
            let options: Vec<_> = options.map(quoted).collect();
            mistakes.add(&key, format!("{found} is none of: {}", options.join(", ")));
        }
        ValidationErrorKind::Type { .. } => {
            let wanted = wanted_types(schema_path).unwrap_or_else(|| error.to_string());
            mistakes.add(&key, format!("{found} is not {wanted}{}", examples(schema_path)));
        }
        ValidationErrorKind::Minimum { limit } => {
            mistakes.add(&key, format!("{found} is too small; at least {limit}"));
        }
        ValidationErrorKind::Maximum { limit } => {
            mistakes.add(&key, format!("{found} is too large; at most {limit}"));
        }
        _ => mistakes.add(&key, error.to_string()),
    }
}

/// None of several forms fits. The one that was meant is the one that got furthest.
fn explain_choice(
    error: &ValidationError<'_>,
    key: &str,
    forms: &[Vec<ValidationError<'static>>],
    mistakes: &mut Mistakes<'_>,
) {
    let here = error.instance_path().as_str().matches('/').count();
    let depth = |form: &&Vec<ValidationError<'_>>| {
        let deepest = form.iter().map(|e| e.instance_path().as_str().matches('/').count()).max();
        (deepest, std::cmp::Reverse(form.len()))
    };
    // A table that may be left out is a choice between it and nothing.
    let forms: Vec<_> = forms.iter().filter(|form| !asks_for_nothing(form)).collect();
    let meant = forms.iter().copied().max_by_key(|form| depth(form));
    match meant {
        Some(meant) if forms.len() == 1 || depth(&meant).0 > Some(here) => {
            explain_all(meant, mistakes);
        }
        _ => {
            let choices = choices(&forms, !error.instance().is_object());
            let found = short(error.instance());
            let several = error.instance().as_object().is_some_and(|table| table.len() > 1);
            let verdict = if several { "must be exactly one" } else { "is none" };
            mistakes.add(key, format!("{found} {verdict} of: {}", choices.join(", ")));
        }
    }
}

fn asks_for_nothing(form: &[ValidationError<'_>]) -> bool {
    form.iter().all(|error| {
        matches!(error.kind(), ValidationErrorKind::Type { .. })
            && follow(error.schema_path().as_str()).is_some_and(|wanted| wanted == "null")
    })
}

/// What a `type` of the schema asks for, in words.
fn wanted_types(schema_path: &str) -> Option<String> {
    let wanted = follow(schema_path)?;
    let wanted = if wanted.is_array() { wanted } else { Json::Array(vec![wanted]) };
    let words = wanted.as_array()?.iter().filter_map(|name| match name.as_str()? {
        "null" => None,
        "object" => Some("a table"),
        "array" => Some("an array"),
        "integer" => Some("a whole number"),
        "number" => Some("a number"),
        "boolean" => Some("true or false"),
        _ => Some("a string"),
    });
    Some(words.collect::<Vec<_>>().join(" or "))
}

fn quoted(word: &Json) -> String {
    word.as_str().map_or_else(|| word.to_string(), |text| format!("`{text}`"))
}

/// The words that each form asks for: constants, or the one key of a tagged table; `whole`: that as a table.
fn choices(forms: &[&Vec<ValidationError<'static>>], whole: bool) -> Vec<String> {
    let errors = forms.iter().copied().flatten();
    let key = |word: &Json| match word.as_str() {
        Some(word) if whole => format!("`{{ {word} = … }}`"),
        _ => quoted(word),
    };
    let words = errors.flat_map(|error| {
        let schema_path = error.schema_path().as_str();
        let beside = |name: &str| {
            let (around, _) = schema_path.rsplit_once('/')?;
            follow(&format!("{around}/{name}"))
        };
        match error.kind() {
            ValidationErrorKind::Constant { expected_value } => vec![quoted(expected_value)],
            ValidationErrorKind::Enum { options } => {
                options.as_array().into_iter().flatten().map(quoted).collect()
            }
            ValidationErrorKind::Required { property } => vec![key(property)],
            // The form was not looked at any further.
            _ => {
                let words = |name| match beside(name) {
                    Some(Json::Array(words)) => words,
                    word => word.into_iter().collect(),
                };
                let constants = ["const", "enum"].into_iter().flat_map(words);
                let constants: Vec<_> = constants.map(|word| quoted(&word)).collect();
                constants.into_iter().chain(words("required").iter().map(key)).collect()
            }
        }
    });
    let mut seen = BTreeSet::new();
    words.filter(|word| seen.insert(word.clone())).collect()
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
    let root = &*SCHEMA;
    let mut here = root;
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
    let parts = pointer.split('/').skip(1);
    parts.fold(String::new(), |key, part| join(&key, &part.replace("~1", "/").replace("~0", "~")))
}

fn short(value: &Json) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        text
    } else {
        text.chars().take(60).chain("…".chars()).collect()
    }
}

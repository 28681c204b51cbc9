//! The `OpenAPI` document: every path, what it takes and what it gives, made from the types that are read and written.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::Response;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::admin::Log;
use super::auth::Role;
use super::detail::Detail;
use super::facts::{Config, Metadata, Ready, Stats};
use super::health::{Live, Readiness, Server};
use super::predict::Predicted;
use super::repository::Listed;
use super::route::Problem;
use crate::job::Job;
use crate::oip::server::{Answer, Request};
use crate::outbox::Contents;
use crate::update::status::Status;
use crate::update::wish::Wish;

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const EVENTS: &str = "text/event-stream";

/// The document, made once.
pub(super) async fn document() -> Response<Body> {
    static DOCUMENT: OnceLock<Json> = OnceLock::new();
    axum::Json(DOCUMENT.get_or_init(made)).into_response()
}

/// Media types, each with its form.
type Forms = Vec<(&'static str, Json)>;

/// Something that can be asked.
struct Operation {
    method: &'static str,
    path: String,
    about: &'static str,
    needs: Option<Role>,
    /// What it takes.
    takes: Forms,
    /// What it gives when all is well.
    gives: Forms,
    /// With which of these.
    statuses: &'static [&'static str],
    /// What else may be said, and where.
    says: Vec<(&'static str, &'static str, Json)>,
}

/// Writes operations down.
struct Book {
    schemas: SchemaGenerator,
    operations: Vec<Operation>,
}

impl Book {
    fn form<T: JsonSchema>(&mut self) -> Json {
        self.schemas.subschema_for::<T>().to_value()
    }

    /// What answers with JSON of this type.
    fn get<T: JsonSchema>(&mut self, path: &str, needs: Option<Role>, about: &'static str) {
        let gives = vec![(JSON, self.form::<T>())];
        self.add("get", path, needs, about, (vec![], gives));
    }

    fn text(&mut self, path: &str, needs: Option<Role>, kind: &'static str, about: &'static str) {
        // Events have no form that this version of OpenAPI could tell.
        let form = if kind == EVENTS { json!({}) } else { json!({ "type": "string" }) };
        let gives = vec![(kind, form)];
        self.add("get", path, needs, about, (vec![], gives));
    }

    fn post<T: JsonSchema>(&mut self, path: &str, needs: Role, about: &'static str) {
        let gives = vec![(JSON, self.form::<T>())];
        self.add("post", path, Some(needs), about, (vec![], gives));
    }

    fn add(
        &mut self,
        method: &'static str,
        path: &str,
        needs: Option<Role>,
        about: &'static str,
        (takes, gives): (Forms, Forms),
    ) {
        let (path, statuses, says) = (path.to_owned(), &["200"][..], Vec::new());
        let operation = Operation { method, path, about, needs, takes, gives, statuses, says };
        self.operations.push(operation);
    }

    /// Handing in work that outlasts a request.
    fn job(&mut self, path: &str) {
        let bytes = || json!({ "type": "string", "format": "binary" });
        let files = json!({ "type": "object", "additionalProperties": bytes() });
        let takes = ["image/jpeg", "image/png", BYTES].map(|kind| (kind, bytes())).into_iter();
        let takes = takes.chain([(JSON, json!({})), ("multipart/form-data", files)]).collect();
        let gives = vec![(JSON, self.form::<Job>())];
        let about = "Hands in files, or a folder of the device: a job. It is told of with 202, and with 200 when this \
                     key has asked for it before.";
        self.add("post", path, Some(Role::Infer), about, (takes, gives));
        let count = || json!({ "type": "integer", "minimum": 1 });
        if let Some(operation) = self.operations.last_mut() {
            operation.statuses = &["200", "202"];
            operation.says = vec![
                ("query", "folder", json!({ "type": "string" })),
                ("query", "samples", count()),
                ("query", "step", count()),
                (
                    "header",
                    "Idempotency-Key",
                    json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
                ),
            ];
        }
    }

    /// What becomes of it.
    fn jobs(&mut self) {
        let read = Some(Role::Read);
        self.get::<Vec<Job>>("/v2/jobs", read, "All jobs, the oldest first.");
        self.get::<Job>("/v2/jobs/{job}", read, "How far it is.");
        let about = "What the model made of its inputs so far, a line each.";
        self.text("/v2/jobs/{job}/results", read, "application/x-ndjson", about);
        let about = "How far it is, told as it goes on.";
        self.text("/v2/jobs/{job}/events", read, EVENTS, about);
        self.post::<Job>("/v2/jobs/{job}/cancel", Role::Infer, "Nobody wants it any more.");
    }

    /// What can be asked of a model, or of a version of it.
    fn model(&mut self, path: &str) {
        let read = Some(Role::Read);
        let at = |end: &str| format!("{path}{end}");
        self.get::<Metadata>(path, read, "What the model takes and gives.");
        self.get::<Ready>(&at("/ready"), read, "Whether it is loaded.");
        self.get::<Config>(&at("/config"), read, "How it serves, as Triton tells it.");
        self.get::<Stats>(&at("/stats"), read, "What clients asked of it so far.");
        let bytes = || json!({ "type": "string", "format": "binary" });
        let takes = vec![(JSON, self.form::<Request<'_>>()), (BYTES, bytes())];
        let gives = vec![(JSON, self.form::<Answer<'_>>()), (BYTES, bytes())];
        let about = "Runs it on tensors: JSON, or with the header Inference-Header-Content-Length JSON and the \
                     bytes of the tensors behind it.";
        self.add("post", &at("/infer"), Some(Role::Infer), about, (takes, gives));
        let takes = vec![("image/jpeg", bytes()), ("image/png", bytes()), (JSON, json!({}))];
        let gives = vec![(JSON, self.form::<Predicted<'_>>())];
        let about = "What it makes of a picture, or of the numbers in a JSON text, in words.";
        self.add("post", &at("/predict"), Some(Role::Infer), about, (takes, gives));
        self.job(&at("/jobs"));
    }
}

/// Nothing but that it was done.
#[derive(JsonSchema)]
struct Done {}

fn made() -> Json {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut book = Book { schemas: settings.into_generator(), operations: Vec::new() };
    let read = Some(Role::Read);
    book.text("/", None, "text/html", "The live page.");
    book.get::<Server>("/v2", read, "The server, and what of the protocol it speaks.");
    book.get::<Live>("/v2/health/live", None, "503: a new start would help.");
    book.get::<Readiness>("/v2/health/ready", None, "503: something is missing.");
    book.get::<Detail<'_>>("/v2/health/detail", read, "How it does, part by part.");
    book.text(
        "/metrics",
        read,
        "text/plain",
        "For Prometheus; OpenMetrics where that is accepted.",
    );
    book.get::<Map<String, Json>>("/v2/openapi.json", read, "This document.");
    book.text("/v2/events", read, EVENTS, "What happens, told as it does.");
    book.model("/v2/models/{model}");
    book.model("/v2/models/{model}/versions/{version}");
    book.jobs();
    book.post::<Vec<Listed>>("/v2/repository/index", Role::Read, "Which models there are.");
    for (path, about) in [
        ("/v2/repository/models/{model}/load", "Loads the newest version of a model."),
        ("/v2/repository/models/{model}/unload", "Keeps it loaded no longer."),
        ("/v2/admin/reload", "Reads the configuration again."),
    ] {
        book.post::<Done>(path, Role::Admin, about);
    }
    let about = "What waits for the clouds, as it lies on the disk.";
    book.get::<Contents>("/v2/admin/outbox", Some(Role::Admin), about);
    let about = "How the updates are doing.";
    book.get::<Status>("/v2/admin/update", Some(Role::Admin), about);
    let (wish, done) = (book.form::<Wish>(), book.form::<Done>());
    let about = "Wishes something of the updates: a look, a release at once, the way back. It is taken up within a \
                 second or so.";
    let both = (vec![(JSON, wish)], vec![(JSON, done)]);
    book.add("post", "/v2/admin/update", Some(Role::Admin), about, both);
    if let Some(operation) = book.operations.last_mut() {
        operation.statuses = &["202"];
    }
    let level = vec![(JSON, book.form::<Log>())];
    let about = "Logs more or less, until the configuration is read again.";
    let both = (level.clone(), level);
    book.add("post", "/v2/admin/log", Some(Role::Admin), about, both);
    let problem = book.form::<Problem>();
    let mut paths = Map::new();
    for operation in &book.operations {
        let entry = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        entry[operation.method] = written(operation, &problem);
    }
    let schemas = book.schemas.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "eir",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn written(operation: &Operation, problem: &Json) -> Json {
    let content = |kinds: &[(&'static str, Json)]| -> Json {
        let kinds =
            kinds.iter().map(|(kind, form)| ((*kind).to_owned(), json!({ "schema": form })));
        Json::Object(kinds.collect())
    };
    let parameters = ["model", "version", "job"]
        .into_iter()
        .filter(|name| operation.path.contains(&format!("{{{name}}}")))
        .map(|name| {
            let form = if name == "version" {
                json!({ "type": "integer", "minimum": 1 })
            } else {
                json!({ "type": "string", "minLength": 1 })
            };
            json!({ "name": name, "in": "path", "required": true, "schema": form })
        });
    let also = operation.says.iter().map(|(place, name, form)| {
        json!({ "name": name, "in": place, "required": false, "schema": form })
    });
    let parameters: Vec<_> = parameters.chain(also).collect();
    let mut told = json!({
        "summary": operation.about,
        "parameters": parameters,
        "responses": {
            "default": {
                "description": "Why not.",
                "content": { JSON: { "schema": problem } },
            },
        },
    });
    for status in operation.statuses {
        told["responses"][status] =
            json!({ "description": "As asked.", "content": content(&operation.gives) });
    }
    if let Some(role) = operation.needs {
        told["security"] = json!([{ "token": [role.as_str()] }]);
    }
    if !operation.takes.is_empty() {
        told["requestBody"] = json!({ "required": true, "content": content(&operation.takes) });
    }
    told
}

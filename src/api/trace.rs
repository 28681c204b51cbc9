//! Spans of what is done for clients that ask a model.
//!
//! Whether a request is traced is known to the task that works for it: so nobody has to hand it on, and of what is not
//! traced nobody knows anything.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use tokio::task_local;

use super::door::Door;
use super::models::{self, Which};
use super::predict;
use super::route::{Answer, Refusal};
use crate::engine::Ran;
use crate::event::TraceParent;
use crate::model::Model;
use crate::task::{Clock, SystemClock};
use crate::trace::{Anchor, Kind, Open};

/// So much of a model's name as a client writes it is told.
const LONGEST: usize = 80;

task_local! {
    /// The span of the request that this task works for, where there is one.
    static REQUEST: RefCell<Open>;
}

/// A request that is traced.
pub(super) struct Visit {
    open: Open,
    name: String,
    /// How its protocol tells what came of it.
    status: fn(StatusCode) -> (&'static str, i32),
}

/// `POST …/infer`
pub(super) async fn infer(door: State<Door>, which: Path<Which>, request: Request) -> Answer {
    let visit = http(&door, &which, "infer", &request);
    follow(visit, models::infer(door, which, request)).await
}

/// `POST …/predict`
pub(super) async fn predict(door: State<Door>, which: Path<Which>, request: Request) -> Answer {
    let visit = http(&door, &which, "predict", &request);
    follow(visit, predict::predict(door, which, request)).await
}

/// A request over HTTP, if it is traced.
fn http(door: &Door, which: &Which, what: &str, request: &Request) -> Option<Visit> {
    let mut open = begin(door, || parent(request.headers()))?;
    let model = short(&which.model);
    let version = which.version.as_deref().map(|version| format!("/versions/{}", short(version)));
    let any = if version.is_some() { "/versions/{version}" } else { "" };
    open.note("http.request.method", request.method().as_str());
    open.note("http.route", format!("/v2/models/{{model}}{any}/{what}"));
    open.note("url.path", format!("/v2/models/{model}{}/{what}", version.unwrap_or_default()));
    let status = |status: StatusCode| ("http.response.status_code", status.as_u16().into());
    Some(Visit { open, name: format!("{what} {model}"), status })
}

/// A request over gRPC, if it is traced.
#[cfg(feature = "grpc")]
pub(super) fn grpc(
    door: &Door,
    method: &'static str,
    parent: Option<TraceParent>,
    model: &str,
) -> Option<Visit> {
    let mut open = begin(door, || parent)?;
    open.note("rpc.system", "grpc");
    open.note("rpc.service", "inference.GRPCInferenceService");
    open.note("rpc.method", method);
    let status = |status| ("rpc.grpc.status_code", super::grpc::code(status).into());
    Some(Visit { open, name: format!("infer {}", short(model)), status })
}

/// Works for a request, and tells how that went where it is traced.
pub(super) async fn follow<T>(
    visit: Option<Visit>,
    work: impl Future<Output = Answer<T>>,
) -> Answer<T> {
    let Some(Visit { open, name, status }) = visit else { return work.await };
    let mut work = pin!(REQUEST.scope(RefCell::new(open), work));
    let answer = work.as_mut().await;
    if let Some(open) = work.take_value() {
        let mut open = open.into_inner();
        let (key, code) = status(answer.as_ref().map_or_else(|no| no.status, |_| StatusCode::OK));
        open.note(key, code);
        if let Err(Refusal { status, message, .. }) = &answer
            && status.is_server_error()
        {
            open.fail(status.as_str(), message.as_str());
        }
        open.reach(SystemClock.now());
        open.end(name, Kind::Server);
    }
    answer
}

/// The trace that a request belongs to; two of them are none.
pub(super) fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut told = headers.get_all(TraceParent::NAME).iter();
    let parent = told.next()?.to_str().ok()?.parse().ok()?;
    told.next().is_none().then_some(parent)
}

/// A request runs on this model.
pub(super) fn runs(model: &Model) {
    tell(|open| {
        open.note("eir.model", model.package().name.as_str());
        open.note("eir.version", model.package().version);
        open.note("eir.engine", model.engine().as_str());
    });
}

/// A model has run for a request, which waited for that.
pub(super) fn ran(ran: &Ran) {
    tell(|open| {
        let to = SystemClock.now();
        let before = |to: Instant, took| to.checked_sub(took).unwrap_or(to);
        let from = before(to, ran.took);
        open.part("wait", before(from, ran.waited), from);
        open.part("inference", from, to);
    });
}

fn tell(tell: impl FnOnce(&mut Open)) {
    // An error: the request is not traced.
    let _untraced = REQUEST.try_with(|open| tell(&mut open.borrow_mut()));
}

fn begin(door: &Door, parent: impl FnOnce() -> Option<TraceParent>) -> Option<Open> {
    let tracer = door.traces.current();
    let tracer = tracer.as_ref()?;
    Open::begin(tracer, parent(), Anchor::of(&SystemClock), SystemClock.now())
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

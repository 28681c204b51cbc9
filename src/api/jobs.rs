//! Work that outlasts a request: handed in, looked at, called off, and its results.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt, stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::desk::blocking;
use super::door::Door;
use super::events::push;
use super::models::Which;
use super::predict::{is_json, mime};
use super::route::{Answer, Refusal, busy, error};
use super::seats::Peer;
use crate::job::{Begun, Draft, Job, JobError, Jobs, Plan};
use crate::net::with_sources;

/// Under which a client asks for the same job again.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Pieces of a file that wait for the disk.
const PIECES: usize = 4;

/// How much of the results is read at once.
const CHUNK: u64 = 64 << 10;

/// A body that is not there by then does not come any more.
const LONGEST: Duration = Duration::from_hours(1);

/// No more often is it told how far a job is.
const TELL: Duration = Duration::from_millis(200);

pub(super) fn facts() -> Router<Door> {
    Router::new()
        .route("/v2/jobs", get(list))
        .route("/v2/jobs/{job}", get(about))
        .route("/v2/jobs/{job}/results", get(results))
        .route("/v2/jobs/{job}/events", get(events))
}

pub(super) fn work() -> Router<Door> {
    Router::new().route("/v2/jobs/{job}/cancel", post(cancel))
}

impl Door {
    /// The jobs, where there are any.
    fn jobs(&self) -> Answer<Arc<Jobs>> {
        self.jobs.clone().ok_or_else(|| {
            error(
                StatusCode::NOT_FOUND,
                "there are no jobs here; [api.jobs] makes a place for them",
            )
        })
    }
}

impl From<JobError> for Refusal {
    fn from(problem: JobError) -> Self {
        let status = match &problem {
            JobError::Invalid(_) => StatusCode::BAD_REQUEST,
            JobError::Unknown(_) => StatusCode::NOT_FOUND,
            JobError::Underway => StatusCode::CONFLICT,
            JobError::Another(_) => StatusCode::UNPROCESSABLE_ENTITY,
            JobError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            JobError::Busy(_) | JobError::NoRoom => return busy(problem.to_string()),
            JobError::Disk(_) => {
                tracing::warn!("a job: {}", with_sources(&problem));
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        error(status, problem.to_string())
    }
}

/// A piece of what a client sends.
enum Piece {
    File(String),
    Bytes(Bytes),
    /// That was all. Without it the client went on the way.
    End,
}

pub(super) async fn submit(
    State(door): State<Door>,
    Path(which): Path<Which>,
    plan: Result<Query<Plan>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Answer {
    let jobs = door.jobs()?;
    let Query(plan) =
        plan.map_err(|problem| error(StatusCode::BAD_REQUEST, problem.body_text()))?;
    let key = request.headers().get(KEY).map(|key| key.to_str().map(str::to_owned)).transpose();
    let key =
        key.map_err(|_| error(StatusCode::BAD_REQUEST, "an Idempotency-Key is plain text"))?;
    let model = which.find(&door).await?;
    let is_folder = plan.folder.is_some();
    let size = request.headers().get(header::CONTENT_LENGTH);
    let size = size.and_then(|size| size.to_str().ok()?.parse().ok());
    let begun = blocking(move || jobs.begin(&model, &plan, key, size)).await??;
    let draft = match begun {
        Begun::Known(job) => return Ok(told(StatusCode::OK, &job)),
        Begun::New(draft) => draft,
    };
    let (sender, pieces) = mpsc::channel(PIECES);
    let taking = spawn_blocking(move || take(*draft, pieces));
    let sent = if is_folder { Ok(()) } else { send(&door, request, &sender).await };
    if sent.is_ok() {
        // Who takes them may have given up; it says why.
        let _taken = sender.send(Piece::End).await;
    }
    drop(sender);
    let taken = taking.await.map_err(|failure| {
        tracing::error!("a job was not taken: {failure}");
        error(StatusCode::INTERNAL_SERVER_ERROR, "this failed here; the log says why")
    })?;
    match (taken, sent) {
        // What the client sent is at fault, or it stopped.
        (Ok(None), Err(refusal)) => Err(refusal),
        (Ok(Some(job)), _) => Ok(told(StatusCode::ACCEPTED, &job)),
        (Err(problem), _) => Err(problem.into()),
        (Ok(None), Ok(())) => Err(broken()),
    }
}

/// Puts the pieces on the disk; `None`: they broke off.
fn take(mut draft: Draft, mut pieces: mpsc::Receiver<Piece>) -> Result<Option<Job>, JobError> {
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::File(name) => draft.begin(&name)?,
            Piece::Bytes(bytes) => draft.write(&bytes)?,
            Piece::End => return draft.submit().map(Some),
        }
    }
    Ok(None)
}

fn broken() -> Refusal {
    error(StatusCode::BAD_REQUEST, "the body broke off, or its chunks are none")
}

/// Who takes the pieces takes no more: why is told in its place.
fn enough<T>(_: mpsc::error::SendError<T>) -> Refusal {
    broken()
}

/// Sends what comes on: the files of a form, or the body as the one file.
async fn send(door: &Door, mut request: Request, to: &mpsc::Sender<Piece>) -> Answer<()> {
    let mime = mime(request.headers());
    let late = |_| error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    let peer = request.extensions().get::<Peer>().cloned();
    let waits = || peer.as_ref().map(|peer| peer.seat.waits());
    let end = Instant::now() + LONGEST;
    let soon = || end.min(Instant::now() + door.timeout);
    if mime != "multipart/form-data" {
        let mut body: BodyDataStream = request.into_body().into_data_stream();
        let mut named = false;
        loop {
            let next = {
                let _its_turn = waits();
                timeout_at(soon(), body.next()).await.map_err(late)?
            };
            let Some(bytes) = next else { return Ok(()) };
            let bytes = bytes.map_err(|_| broken())?;
            if !std::mem::replace(&mut named, true) {
                let name = if is_json(&mime, &bytes) { "body.json" } else { "body" };
                to.send(Piece::File(name.to_owned())).await.map_err(enough)?;
            }
            to.send(Piece::Bytes(bytes)).await.map_err(enough)?;
        }
    }
    let bad = |problem: String| error(StatusCode::BAD_REQUEST, format!("the form {problem}"));
    // How much of the disk it may take is seen to as it comes.
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|problem| bad(format!("cannot be read: {problem}")))?;
    loop {
        let next = {
            let _its_turn = waits();
            timeout_at(soon(), form.next_field()).await.map_err(late)?
        };
        let Some(mut field) = next.map_err(|problem| bad(problem.body_text()))? else {
            return Ok(());
        };
        let name = field.file_name().or(field.name()).unwrap_or("body").to_owned();
        to.send(Piece::File(name)).await.map_err(enough)?;
        loop {
            let next = {
                let _its_turn = waits();
                timeout_at(soon(), field.chunk()).await.map_err(late)?
            };
            let Some(bytes) = next.map_err(|problem| bad(problem.body_text()))? else { break };
            to.send(Piece::Bytes(bytes)).await.map_err(enough)?;
        }
    }
}

fn told(status: StatusCode, job: &Job) -> Response<Body> {
    let mut response = (status, Json(job)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v2/jobs/{}", job.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

async fn list(State(door): State<Door>) -> Answer<Json<Vec<Job>>> {
    let jobs = door.jobs()?;
    Ok(Json(blocking(move || jobs.all()).await??))
}

fn id(text: &str) -> Answer<Uuid> {
    let unknown = || JobError::Unknown(text.chars().take(40).collect()).into();
    text.parse().map_err(|_| unknown())
}

async fn about(State(door): State<Door>, Path(job): Path<String>) -> Answer<Json<Job>> {
    let (jobs, id) = (door.jobs()?, id(&job)?);
    let watched = blocking(move || jobs.watch(id)).await??;
    let job = watched.borrow().clone();
    Ok(Json(job))
}

async fn cancel(State(door): State<Door>, Path(job): Path<String>) -> Answer<Json<Job>> {
    let (jobs, id) = (door.jobs()?, id(&job)?);
    Ok(Json(blocking(move || jobs.cancel(id)).await??))
}

/// As many results as there are now.
async fn results(State(door): State<Door>, Path(job): Path<String>) -> Answer {
    let (jobs, id) = (door.jobs()?, id(&job)?);
    let file = blocking(move || jobs.results(id)).await??;
    let whole = async |file| -> io::Result<(File, u64)> {
        let file = File::from_std(file);
        let size = file.metadata().await?.len();
        Ok((file, size))
    };
    let body = match file {
        Some(file) => {
            let rest = whole(file).await.map_err(JobError::from)?;
            Body::from_stream(stream::try_unfold(rest, |(mut file, left)| async move {
                let mut bytes = Vec::new();
                let read = (&mut file).take(left.min(CHUNK)).read_to_end(&mut bytes).await?;
                Ok::<_, io::Error>((read > 0).then(|| (bytes, (file, left - read as u64))))
            }))
        }
        None => Body::empty(),
    };
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// How far it is, as it goes on; the last event tells its end.
async fn events(State(door): State<Door>, Path(job): Path<String>) -> Answer {
    let (jobs, id) = (door.jobs()?, id(&job)?);
    let mut watched = blocking(move || jobs.watch(id)).await??;
    watched.mark_changed();
    let stop = door.stop.clone();
    let told = stream::unfold(Some((watched, stop)), |state| async move {
        let (mut watched, mut stop) = state?;
        let changed = tokio::select! {
            changed = watched.changed() => changed,
            () = stop.stopped() => return None,
        };
        // It was forgotten.
        changed.ok()?;
        let job = watched.borrow_and_update().clone();
        let mut text = String::new();
        push(&mut text, "job", None, &job);
        let next = (!job.state.is_end()).then_some((watched, stop));
        if next.is_some() {
            sleep(TELL).await;
        }
        Some((Ok::<_, Infallible>(Bytes::from(text)), next))
    });
    let kind = HeaderValue::from_static("text/event-stream");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(told)).into_response())
}

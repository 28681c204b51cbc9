//! What is told of models: the JSON of the Open Inference Protocol, as types.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Serialize;

use super::door::Door;
use super::models::{Which, backend, batching, platform};
use super::route::Answer;
use crate::event::DType;
use crate::model::ServedCounts;
use crate::oip::datatype;
use crate::oip::server::dims_of;
use crate::package::TensorInfo;

/// What a model takes and gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Metadata {
    name: String,
    versions: Vec<String>,
    platform: &'static str,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// One tensor; -1 where a dimension is open.
#[derive(Debug, Serialize, JsonSchema)]
struct Tensor {
    name: String,
    datatype: &'static str,
    shape: Vec<i64>,
}

/// A model is loaded.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ready {
    name: String,
    ready: bool,
}

/// How a model serves: what Triton would say of the same model, as far as clients look at it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Config {
    name: String,
    platform: &'static str,
    backend: &'static str,
    /// The first dimension of a batch is told with the others.
    max_batch_size: usize,
    input: Vec<Port>,
    output: Vec<Port>,
    instance_group: [Instances; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic_batching: Option<Batching>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Port {
    name: String,
    data_type: String,
    dims: Vec<i64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Instances {
    name: String,
    count: usize,
    kind: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Batching {
    preferred_batch_size: [usize; 1],
    max_queue_delay_microseconds: u64,
}

/// What clients asked.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Stats {
    model_stats: [ModelStats; 1],
}

#[derive(Debug, Serialize, JsonSchema)]
struct ModelStats {
    name: String,
    version: String,
    /// Milliseconds since 1970.
    last_inference: u64,
    inference_count: u64,
    execution_count: u64,
    inference_stats: BTreeMap<&'static str, Share>,
    batch_stats: [u8; 0],
}

/// How many requests, and how long all of them took.
#[derive(Debug, Serialize, JsonSchema)]
struct Share {
    count: u64,
    ns: u64,
}

pub(super) async fn metadata(
    State(door): State<Door>,
    Path(which): Path<Which>,
) -> Answer<Json<Metadata>> {
    let model = which.find(&door).await?;
    let package = model.package();
    let tensors = |infos: &[TensorInfo]| -> Vec<Tensor> {
        let one = |info: &TensorInfo| Tensor {
            name: info.name.clone(),
            datatype: datatype(info.dtype),
            shape: dims_of(info),
        };
        infos.iter().map(one).collect()
    };
    Ok(Json(Metadata {
        name: package.name.as_str().to_owned(),
        versions: vec![package.version.to_string()],
        platform: platform(&model),
        inputs: tensors(&package.signature.inputs),
        outputs: tensors(&package.signature.outputs),
    }))
}

pub(super) async fn ready(
    State(door): State<Door>,
    Path(which): Path<Which>,
) -> Answer<Json<Ready>> {
    let model = which.find(&door).await?;
    Ok(Json(Ready { name: model.package().name.as_str().to_owned(), ready: true }))
}

pub(super) async fn config(
    State(door): State<Door>,
    Path(which): Path<Which>,
) -> Answer<Json<Config>> {
    let model = which.find(&door).await?;
    let package = model.package();
    let ports = |infos: &[TensorInfo]| -> Vec<Port> {
        let one = |info: &TensorInfo| Port {
            name: info.name.clone(),
            data_type: match info.dtype {
                // The one type that has another name there.
                DType::String => "TYPE_STRING".to_owned(),
                dtype => format!("TYPE_{}", datatype(dtype)),
            },
            dims: dims_of(info),
        };
        infos.iter().map(one).collect()
    };
    let name = package.name.as_str().to_owned();
    Ok(Json(Config {
        platform: platform(&model),
        backend: backend(&model),
        max_batch_size: 0,
        input: ports(&package.signature.inputs),
        output: ports(&package.signature.outputs),
        instance_group: [Instances {
            name: name.clone(),
            count: model.instances(),
            kind: "KIND_AUTO",
        }],
        dynamic_batching: batching(&model).map(|(most, delay)| Batching {
            preferred_batch_size: [most],
            max_queue_delay_microseconds: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
        }),
        name,
    }))
}

pub(super) async fn stats(
    State(door): State<Door>,
    Path(which): Path<Which>,
) -> Answer<Json<Stats>> {
    let model = which.find(&door).await?;
    let counts = door.shelf.served(&model).counts();
    let package = model.package();
    let shares = shares(&counts).map(|(name, count, ns)| (name, Share { count, ns }));
    Ok(Json(Stats {
        model_stats: [ModelStats {
            name: package.name.as_str().to_owned(),
            version: package.version.to_string(),
            last_inference: counts.last_ms,
            inference_count: counts.inferences,
            execution_count: counts.executions,
            inference_stats: shares.into_iter().collect(),
            batch_stats: [],
        }],
    }))
}

/// What became of requests, of how many each, and how many nanoseconds all of these took.
pub(super) fn shares(counts: &ServedCounts) -> [(&'static str, u64, u64); 8] {
    let ran = counts.answered - counts.hits.min(counts.answered);
    let rest = counts.took.saturating_sub(counts.waited + counts.ran + counts.hit_took);
    [
        ("success", counts.answered, counts.took),
        ("fail", counts.failed, Duration::ZERO),
        ("queue", ran, counts.waited),
        ("compute_input", ran, rest),
        ("compute_infer", ran, counts.ran),
        ("compute_output", ran, Duration::ZERO),
        ("cache_hit", counts.hits, counts.hit_took),
        ("cache_miss", counts.misses, Duration::ZERO),
    ]
    .map(|(name, count, time)| (name, count, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}

//! What is said of a model.

use super::proto::model_config::SchedulingChoice;
use super::proto::model_instance_group::Kind;
use super::proto::model_metadata_response::TensorMetadata;
use super::proto::{
    DataType, InferStatistics, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup,
    ModelMetadataResponse, ModelOutput, ModelStatistics, StatisticDuration,
};
use crate::api::facts::shares;
use crate::api::models::{backend, batching, platform};
use crate::event::DType;
use crate::model::{Model, ServedCounts};
use crate::oip::datatype;
use crate::oip::server::dims_of;
use crate::package::TensorInfo;

pub(super) fn metadata(model: &Model) -> ModelMetadataResponse {
    let package = model.package();
    let tensor = |info: &TensorInfo| TensorMetadata {
        name: info.name.clone(),
        datatype: datatype(info.dtype).to_owned(),
        shape: dims_of(info),
    };
    ModelMetadataResponse {
        name: package.name.as_str().to_owned(),
        versions: vec![package.version.to_string()],
        platform: platform(model).to_owned(),
        inputs: package.signature.inputs.iter().map(tensor).collect(),
        outputs: package.signature.outputs.iter().map(tensor).collect(),
    }
}

/// As far as clients look at it. The first dimension of a batch is told with the others.
pub(super) fn config(model: &Model) -> ModelConfig {
    let package = model.package();
    let input = |info: &TensorInfo| ModelInput {
        name: info.name.clone(),
        data_type: data_type(info.dtype).into(),
        dims: dims_of(info),
    };
    let output = |info: &TensorInfo| ModelOutput {
        name: info.name.clone(),
        data_type: data_type(info.dtype).into(),
        dims: dims_of(info),
    };
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let batching = batching(model).map(|(most, delay)| {
        SchedulingChoice::DynamicBatching(ModelDynamicBatching {
            preferred_batch_size: vec![number(most)],
            max_queue_delay_microseconds: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
        })
    });
    ModelConfig {
        name: package.name.as_str().to_owned(),
        platform: platform(model).to_owned(),
        backend: backend(model).to_owned(),
        max_batch_size: 0,
        input: package.signature.inputs.iter().map(input).collect(),
        output: package.signature.outputs.iter().map(output).collect(),
        instance_group: vec![ModelInstanceGroup {
            name: package.name.as_str().to_owned(),
            count: number(model.instances()),
            kind: Kind::Auto.into(),
        }],
        scheduling_choice: batching,
    }
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::TypeBool,
        DType::U8 => DataType::TypeUint8,
        DType::I8 => DataType::TypeInt8,
        DType::U16 => DataType::TypeUint16,
        DType::I16 => DataType::TypeInt16,
        DType::U32 => DataType::TypeUint32,
        DType::I32 => DataType::TypeInt32,
        DType::U64 => DataType::TypeUint64,
        DType::I64 => DataType::TypeInt64,
        DType::F16 => DataType::TypeFp16,
        DType::F32 => DataType::TypeFp32,
        DType::F64 => DataType::TypeFp64,
        DType::String => DataType::TypeString,
    }
}

/// Times are sums.
pub(super) fn statistics(model: &Model, counts: &ServedCounts) -> ModelStatistics {
    let part = |(_, count, ns)| Some(StatisticDuration { count, ns });
    let [success, fail, queue, input, infer, output, hit, miss] = shares(counts).map(part);
    let package = model.package();
    ModelStatistics {
        name: package.name.as_str().to_owned(),
        version: package.version.to_string(),
        last_inference: counts.last_ms,
        inference_count: counts.inferences,
        execution_count: counts.executions,
        inference_stats: Some(InferStatistics {
            success,
            fail,
            queue,
            compute_input: input,
            compute_infer: infer,
            compute_output: output,
            cache_hit: hit,
            cache_miss: miss,
        }),
        batch_stats: Vec::new(),
    }
}

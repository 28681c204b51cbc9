//! How ONNX Runtime is found and used.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// ONNX Runtime's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrtConfig {
    /// The shared library. By default it is looked for in `ORT_DYLIB_PATH`, beside the program, in
    /// the `target/` of a development build and on the system's library path.
    pub library: Option<PathBuf>,
    /// Execution providers in the order in which they are asked; each that is missing is named, and
    /// `cpu` always comes last.
    pub providers: Vec<Provider>,
    /// Threads that work on one operator. By default 1 for a model that takes under a millisecond,
    /// otherwise the cores that the process may use.
    #[schemars(range(min = 1, max = 256))]
    pub intra_threads: Option<usize>,
}

impl Default for OrtConfig {
    fn default() -> Self {
        Self { library: None, providers: vec![Provider::Cpu], intra_threads: None }
    }
}

/// What computes for ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is ONNX Runtime's own name for it")]
pub enum Provider {
    Cpu,
    Acl,
    Cann,
    Cuda,
    Migraphx,
    Onednn,
    Openvino,
    Qnn,
    Rknpu,
    Rocm,
    Tensorrt,
    Xnnpack,
}

impl Provider {
    /// What has to be on the device for it, and in the build of ONNX Runtime.
    #[cfg(any(feature = "ort-dynamic", feature = "ort-static"))]
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::Cpu => "nothing",
            Self::Acl => "Arm's Compute Library (ONNX Runtime built with --use_acl)",
            Self::Cann => "Huawei's CANN toolkit (ONNX Runtime built with --use_cann)",
            Self::Cuda => {
                "NVIDIA's CUDA and cuDNN, as JetPack has them (ONNX Runtime built with --use_cuda)"
            }
            Self::Migraphx => "AMD's ROCm with MIGraphX (ONNX Runtime built with --use_migraphx)",
            Self::Onednn => "ONNX Runtime built with --use_dnnl",
            Self::Openvino => "Intel's OpenVINO (ONNX Runtime built with --use_openvino)",
            Self::Qnn => {
                "Qualcomm's AI Engine Direct libraries (ONNX Runtime built with --use_qnn)"
            }
            Self::Rknpu => "Rockchip's NPU driver library (ONNX Runtime built with --use_rknpu)",
            Self::Rocm => "AMD's ROCm (ONNX Runtime built with --use_rocm)",
            Self::Tensorrt => {
                "NVIDIA's TensorRT, as JetPack has it (ONNX Runtime built with --use_tensorrt)"
            }
            Self::Xnnpack => "ONNX Runtime built with --use_xnnpack",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

//! ONNX Runtime's shared library: where it is looked for, and what it brings.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ::ort::ep;
use ::ort::session::builder::SessionBuilder;

use super::super::telemetry;
use super::{Loaded, OrtConfig, OrtUnavailable, Provider, environment, short};

/// Asks the library for a provider.
pub(super) fn register(provider: Provider, builder: &mut SessionBuilder) -> Result<(), String> {
    let Some(dispatch) = dispatch(provider) else { return Ok(()) };
    dispatch.register(builder).map_err(|error| short(&error))
}

fn dispatch(provider: Provider) -> Option<ep::ExecutionProviderDispatch> {
    Some(match provider {
        Provider::Cpu => return None,
        Provider::Acl => ep::ACL::default().build(),
        Provider::Cann => ep::CANN::default().build(),
        Provider::Cuda => ep::CUDA::default().build(),
        Provider::Migraphx => ep::MIGraphX::default().build(),
        Provider::Onednn => ep::OneDNN::default().build(),
        Provider::Openvino => ep::OpenVINO::default().build(),
        Provider::Qnn => ep::QNN::default().build(),
        Provider::Rknpu => ep::RKNPU::default().build(),
        Provider::Rocm => ep::ROCm::default().build(),
        Provider::Tensorrt => ep::TensorRT::default().build(),
        Provider::Xnnpack => ep::XNNPACK::default().build(),
    })
}

/// A path that a person named is the one that is meant; otherwise the usual places are tried.
pub(super) fn find(config: &OrtConfig) -> Result<Loaded, OrtUnavailable> {
    if !telemetry::is_disabled() {
        return Err(OrtUnavailable::Telemetry);
    }
    let named = config.library.clone();
    let named = named.or_else(|| {
        env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from)
    });
    if let Some(path) = named {
        return open(&path).map_err(|reason| OrtUnavailable::Unusable { path, reason });
    }
    for path in nearby() {
        if path.is_file() {
            return open(&path).map_err(|reason| OrtUnavailable::Unusable { path, reason });
        }
    }
    ["libonnxruntime.so", "libonnxruntime.so.1"]
        .into_iter()
        .map(|name| open(Path::new(name)))
        .reduce(Result::or)
        .unwrap_or_else(|| Err(String::new()))
        .map_err(|reason| OrtUnavailable::NotFound { reason })
}

/// Beside the program, and in the build directory of a program that lies in one.
fn nearby() -> Vec<PathBuf> {
    let program = env::current_exe().unwrap_or_default();
    let beside = program.parent().map(|beside| beside.join("libonnxruntime.so"));
    // A build lies in `target/release`, a test in `target/debug/deps`. Cargo's mark on `target` does not
    // help to find it: there is none where the library was fetched before the first build.
    let built = program.ancestors().skip(2).take(2);
    let fetched = built.map(|target| target.join("onnxruntime/libonnxruntime.so"));
    beside.into_iter().chain(fetched).collect()
}

fn open(path: &Path) -> Result<Loaded, String> {
    // What is no ONNX Runtime may well make the binding panic.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        // The binding looks for a relative path beside the program; a person means the directory
        // that eir was started in. A bare name is for the system's loader to find.
        let bare = path.components().count() == 1;
        let path =
            if bare { path.to_owned() } else { std::path::absolute(path).unwrap_or_default() };
        let builder = ::ort::init_from(&path).map_err(|error| error.to_string())?;
        let environment = environment(builder)?;
        let version = version(&path, ::ort::info());
        Ok(Loaded { environment, path, version })
    }));
    opened.unwrap_or_else(|_| Err("it does not behave like ONNX Runtime 1.17 or newer".into()))
}

/// The number at the end of the library's name, `libonnxruntime.so.1.31.1`; otherwise the commit that
/// the build tells, `git-commit-id=6af1a93`.
fn version(path: &Path, info: &str) -> String {
    let real = path.canonicalize().unwrap_or_default();
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let number = name.split_once(".so.").map(|(_, number)| number);
    let commit = || info.split([',', ' ']).find_map(|word| word.strip_prefix("git-commit-id="));
    let version = number.filter(|n| n.contains('.')).or_else(commit).unwrap_or("unknown");
    version.chars().take(40).collect()
}

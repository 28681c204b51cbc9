//! ONNX Runtime through the `ort` crate, from a shared library that is found at run time.

use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::ort::environment::Environment;
use ::ort::ep;
use ::ort::logging::LogLevel;
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ::ort::session::{Session as OrtSession, SessionInputValue};
use ::ort::value::{DynValue, TensorElementType, TensorRef, ValueType};
use half::f16;

use super::{
    Engine, EngineError, EngineKind, OrtConfig, OrtUnavailable, Provider, Session, SessionOptions,
    check_inputs, guard, sentence::sentence, telemetry,
};
use crate::event::{Data, Element, Tensor};
use crate::package::{Package, TensorInfo};

const KIND: EngineKind = EngineKind::Ort;

/// ONNX Runtime, loaded.
#[derive(Debug, Clone)]
pub struct Ort {
    loaded: Loaded,
    providers: Vec<Provider>,
}

/// The library; a process can hold only one, so whoever comes later shares it.
#[derive(Debug, Clone)]
struct Loaded {
    environment: Environment,
    path: PathBuf,
    version: String,
}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

impl Ort {
    /// Finds and loads the library. It is loaded once a process: a later call gets the same one,
    /// whatever its configuration says.
    pub fn open(config: &OrtConfig) -> Result<Self, OrtUnavailable> {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let library = match &*loaded {
            Some(library) => library.clone(),
            None => loaded.insert(find(config)?).clone(),
        };
        Ok(Self { loaded: library, providers: config.providers.clone() })
    }

    /// Where the library lies, as it was found.
    pub fn path(&self) -> &Path {
        &self.loaded.path
    }

    fn builder(
        &self,
        options: SessionOptions,
        providers: &[Provider],
        notes: &mut Vec<String>,
    ) -> Result<SessionBuilder, ::ort::Error> {
        let mut builder = OrtSession::builder(&self.loaded.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(options.intra_threads.max(1))?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?;
        for provider in providers {
            let Some(dispatch) = dispatch(*provider) else { continue };
            if let Err(error) = dispatch.register(&mut builder) {
                notes.push(format!("provider {provider} is missing: {}", short(&error)));
            }
        }
        Ok(builder)
    }
}

impl Engine for Ort {
    fn kind(&self) -> EngineKind {
        KIND
    }

    fn version(&self) -> String {
        self.loaded.version.clone()
    }

    fn load(
        &self,
        package: &Package,
        options: SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let bytes = package.model_bytes()?;
        guard(KIND, || {
            let mut notes = Vec::new();
            let mut providers = self.providers.as_slice();
            let session = loop {
                let built = self
                    .builder(options, providers, &mut notes)
                    .and_then(|mut builder| builder.commit_from_memory(&bytes));
                match (built, providers) {
                    (Ok(session), _) => break session,
                    // A provider may register and still be unable to run: the next one is asked.
                    (Err(error), [first, rest @ ..]) if *first != Provider::Cpu => {
                        notes.push(format!("provider {first} failed: {}", short(&error)));
                        providers = rest;
                    }
                    (Err(error), _) => return Err(refused(package, &self.loaded.version, &error)),
                }
            };
            let names: Vec<_> =
                session.inputs().iter().map(|input| input.name().to_owned()).collect();
            let wanted: Vec<_> = package.signature.inputs.iter().map(|i| i.name.clone()).collect();
            if names != wanted {
                let reason = format!("it takes {names:?}, the file declares {wanted:?}");
                let opset = package.signature.opset();
                return Err(EngineError::Load { engine: KIND, opset, reason });
            }
            Ok(Box::new(Running { session, inputs: package.signature.inputs.clone(), notes }) as _)
        })
    }
}

struct Running {
    session: OrtSession,
    inputs: Vec<TensorInfo>,
    notes: Vec<String>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ort::Running").field("notes", &self.notes).finish_non_exhaustive()
    }
}

impl Session for Running {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), EngineError> {
        check_inputs(&self.inputs, inputs)?;
        let failed = |error: ::ort::Error| EngineError::Run { engine: KIND, reason: short(&error) };
        guard(KIND, || {
            let values = inputs.iter().map(view).collect::<Result<Vec<_>, _>>().map_err(failed)?;
            let results = self.session.run(&values[..]).map_err(failed)?;
            outputs.resize_with(results.len(), Tensor::default);
            for (slot, value) in outputs.iter_mut().zip(results.values()) {
                take(&value, slot).map_err(failed)?;
            }
            Ok(())
        })
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

macro_rules! by_type {
    ($($variant:ident $type:ty, $element:ident;)*) => {
        /// The tensor as ONNX Runtime sees it, without a copy.
        fn view(tensor: &Tensor) -> ::ort::Result<SessionInputValue<'_>> {
            match tensor.data() {$(
                Data::$variant(values) => {
                    TensorRef::<$type>::from_array_view((tensor.shape(), &values[..])).map(Into::into)
                }
            )*}
        }

        fn take(value: &DynValue, slot: &mut Tensor) -> ::ort::Result<()> {
            let ValueType::Tensor { ty, .. } = value.dtype() else {
                return Err(::ort::Error::new("an output is no tensor"));
            };
            match ty {
                $(TensorElementType::$element => copy::<$type>(value, slot),)*
                other => Err(::ort::Error::new(format!("an output has elements of type {other}"))),
            }
        }
    };
}

by_type! {
    Bool bool, Bool; U8 u8, Uint8; I8 i8, Int8; U16 u16, Uint16; I16 i16, Int16; U32 u32, Uint32;
    I32 i32, Int32; U64 u64, Uint64; I64 i64, Int64; F16 f16, Float16; F32 f32, Float32;
    F64 f64, Float64;
}

fn copy<T>(value: &DynValue, slot: &mut Tensor) -> ::ort::Result<()>
where
    T: Element + ::ort::value::PrimitiveTensorElementType + fmt::Debug,
{
    let (shape, values) = value.try_extract_tensor::<T>()?;
    let shape = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect::<Vec<_>>();
    slot.assign(&shape, values).map_err(::ort::Error::wrap)
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
fn find(config: &OrtConfig) -> Result<Loaded, OrtUnavailable> {
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
        let environment = builder
            .with_name("eir")
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|error| short(&error))?;
        environment.set_log_level(LogLevel::Warning);
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

/// What ends in an error is reported as one by the caller; the rest is for whoever looks closely.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(location, "onnxruntime: {message}"),
        _ => tracing::debug!(location, "onnxruntime: {message}"),
    }
}

fn refused(package: &Package, version: &str, error: &::ort::Error) -> EngineError {
    let opset = package.signature.opset();
    let text = error.to_string();
    if let Some(highest) = highest_opset(&text).filter(|highest| opset > *highest) {
        return EngineError::Opset { engine: KIND, version: version.to_owned(), opset, highest };
    }
    // "No Op registered for X with domain_version of N", "X is not a registered function/op"
    let unknown = text.contains("No Op registered for") || text.contains("not a registered");
    let named = package.signature.operators.iter().find(|(_, operator)| {
        text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == operator)
    });
    match named {
        Some((domain, operator)) if unknown => {
            EngineError::operator(KIND, domain, operator, &package.signature)
        }
        _ => EngineError::Load { engine: KIND, opset, reason: sentence(&text) },
    }
}

/// "Current official support for domain ai.onnx is till opset N."
fn highest_opset(text: &str) -> Option<i64> {
    let (_, number) = text.split_once("domain ai.onnx is till opset ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn short(error: &dyn fmt::Display) -> String {
    sentence(&error.to_string())
}

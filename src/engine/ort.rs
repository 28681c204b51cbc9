//! ONNX Runtime through the `ort` crate: from a shared library that is found at run time, or linked in.

#[cfg_attr(feature = "ort-dynamic", path = "ort/dynamic.rs")]
#[cfg_attr(not(feature = "ort-dynamic"), path = "ort/linked.rs")]
mod library;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::ort::environment::{Environment, EnvironmentBuilder};
use ::ort::logging::LogLevel;
use ::ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ::ort::session::{Session as OrtSession, SessionInputValue};
use ::ort::value::{DynValue, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType};
use half::f16;

use super::{
    Engine, EngineError, EngineKind, OrtConfig, OrtUnavailable, Provider, Session, SessionOptions,
    check_inputs, guard, sentence::sentence,
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
            None => loaded.insert(library::find(config)?).clone(),
        };
        Ok(Self { loaded: library, providers: config.providers.clone() })
    }

    /// Where the library lies, as it was found; the program itself where it is linked in.
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
            if let Err(reason) = library::register(*provider, &mut builder) {
                let needs = provider.needs();
                notes.push(format!("provider {provider} is missing: {reason}; it needs {needs}"));
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
        /// The tensor as ONNX Runtime sees it; numbers without a copy.
        fn view(tensor: &Tensor) -> ::ort::Result<SessionInputValue<'_>> {
            match tensor.data() {$(
                Data::$variant(values) => {
                    TensorRef::<$type>::from_array_view((tensor.shape(), &values[..])).map(Into::into)
                }
            )*
                Data::String(texts) => {
                    OrtTensor::from_string_array((tensor.shape(), &texts[..])).map(Into::into)
                }
            }
        }

        fn take(value: &DynValue, slot: &mut Tensor) -> ::ort::Result<()> {
            let ValueType::Tensor { ty, .. } = value.dtype() else {
                return Err(::ort::Error::new("an output is no tensor"));
            };
            match ty {
                $(TensorElementType::$element => copy::<$type>(value, slot),)*
                TensorElementType::String => {
                    let (shape, texts) = value.try_extract_strings()?;
                    slot.assign(&dims(shape), &texts).map_err(::ort::Error::wrap)
                }
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
    slot.assign(&dims(shape), values).map_err(::ort::Error::wrap)
}

fn dims(shape: &[i64]) -> Vec<usize> {
    shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(0)).collect()
}

/// What the rest of the process shares.
fn environment(builder: EnvironmentBuilder) -> Result<Environment, String> {
    let environment = builder
        .with_name("eir")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| short(&error))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
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

//! ONNX Runtime inside the program: `cross/onnxruntime-static.sh` makes the archive.

use std::env;
use std::ffi::CStr;

use ::ort::session::builder::SessionBuilder;

use super::{Loaded, OrtConfig, OrtUnavailable, Provider, environment};

/// The archive has the CPU alone: a static program cannot load what other providers need.
pub(super) fn register(provider: Provider, _builder: &mut SessionBuilder) -> Result<(), String> {
    match provider {
        Provider::Cpu => Ok(()),
        _ => Err("this program has ONNX Runtime for the CPU alone linked in".into()),
    }
}

/// There is nothing to look for.
pub(super) fn find(config: &OrtConfig) -> Result<Loaded, OrtUnavailable> {
    if let Some(library) = &config.library {
        let library = library.display();
        tracing::warn!(%library, "[models].ort.library is not used: ONNX Runtime is linked in");
    }
    let path = env::current_exe().unwrap_or_default();
    match environment(::ort::init()) {
        Ok(environment) => Ok(Loaded { environment, path, version: version() }),
        Err(reason) => Err(OrtUnavailable::Unusable { path, reason }),
    }
}

fn version() -> String {
    // SAFETY: the archive's entry point takes nothing and returns a table that lives as long as the
    // program; the text behind it is a constant that ends in a zero.
    #[expect(unsafe_code, reason = "the binding has no call of its own for the version")]
    let text = unsafe { CStr::from_ptr(((*::ort::sys::OrtGetApiBase()).GetVersionString)()) };
    text.to_string_lossy().into_owned()
}

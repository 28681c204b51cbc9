//! Makes Rust of the protocols that others speak to eir.

#[cfg(not(feature = "grpc"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    tell_the_target();
}

/// The messages and the service of the Open Inference Protocol, and what reflection says of them; needs no `protoc`.
#[cfg(feature = "grpc")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const DIRECTORY: &str = "src/api/grpc";
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={DIRECTORY}/inference.proto");
    tell_the_target();
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut compiler = protox::Compiler::new([DIRECTORY])?;
    compiler.open_file("inference.proto")?;
    #[expect(clippy::disallowed_methods, reason = "a build that broke off is begun anew")]
    std::fs::write(out.join("inference.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        // What comes in bytes stays where it came.
        .bytes(".")
        .btree_map(".")
        // An input without contents takes little: there may be many.
        .boxed(".inference.ModelInferRequest.InferInputTensor.contents")
        .codec_path("crate::api::grpc::codec::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Releases are made for one target triple each, and a program knows its own.
fn tell_the_target() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=EIR_TARGET={target}");
}

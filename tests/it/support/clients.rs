//! Others' clients in Python, unmodified.

use std::path::Path;
use std::process::Command;

/// Where what was built and fetched lies.
pub(crate) fn target() -> std::path::PathBuf {
    let program = std::env::current_exe().expect("this program");
    let target = program.ancestors().find(|path| path.join("clients").is_dir());
    target.map(Path::to_owned).unwrap_or_default()
}

/// Runs a script with clients that were fetched, those of a directory of their own among them; none: they are not here. With `EIR_REQUIRE_CLIENTS=1` they must
/// be.
pub(crate) fn client(
    (within, module): (&str, &str),
    script: &str,
    arguments: &[String],
) -> Option<String> {
    let path = target().join("clients").join(within);
    let python = |script: &str| {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &path).args(["-c", script]).args(arguments).output()
    };
    if !python(&format!("import {module}")).is_ok_and(|output| output.status.success()) {
        let required = std::env::var_os("EIR_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(!required, "{module} is not here");
        return None;
    }
    let output = python(script).expect("python");
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

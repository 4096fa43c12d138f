//! Aeron's media driver and its client library, built from the C sources that a crate carries, as their makers build them.
//! No package has them ready.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::install::{install, libraries, unpacked_wheel};
use crate::{Outcome, shell};

/// Builds both, and puts them among the peers.
pub(super) fn build(folder: &Path) -> Outcome {
    let work = folder.join("download/aeron");
    let sources = sources(&work)?;
    let cmake = cmake(folder)?;
    let build = work.join("build");
    let mut configure = Command::new(&cmake);
    configure.arg("-S").arg(&sources).arg("-B").arg(&build);
    configure.arg("-DCMAKE_BUILD_TYPE=Release");
    configure.args(LEFT_OUT.map(|part| format!("-D{part}=OFF")));
    shell::run(&mut configure)?;
    let mut make = Command::new(&cmake);
    make.arg("--build")
        .arg(&build)
        .args(["--target", LIBRARY_TARGET, DRIVER_TARGET]);
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    shell::run(make.args(["--parallel", &jobs.to_string()]))?;
    let places = folder.join(libraries());
    std::fs::create_dir_all(&places).map_err(|error| error.to_string())?;
    install(&build.join("lib/libaeron.so"), &places.join("libaeron.so"))?;
    // The last, because it is what shows that all is there.
    let driver = build.join("binaries").join(DRIVER_TARGET);
    install(&driver, &folder.join("bin/aeronmd"))
}

/// The C sources: cargo downloads the crate that carries them, and says where they lie.
fn sources(work: &Path) -> Result<PathBuf, String> {
    let manifest = work.join("Cargo.toml");
    let failed = |error: std::io::Error| format!("{}: {error}", manifest.display());
    std::fs::create_dir_all(work.join("src")).map_err(failed)?;
    std::fs::write(work.join("src/lib.rs"), "").map_err(failed)?;
    std::fs::write(&manifest, MANIFEST).map_err(failed)?;
    let mut metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    metadata.args(["metadata", "--format-version", "1", "--manifest-path"]);
    let text = shell::output(metadata.arg(&manifest)).ok_or("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array();
    let package = packages
        .into_iter()
        .flatten()
        .find(|package| package["name"] == CRATE)
        .and_then(|package| package["manifest_path"].as_str())
        .and_then(|path| Path::new(path).parent())
        .ok_or("cargo does not say where the crate lies")?;
    Ok(package.join("aeron"))
}

/// Their build needs a newer CMake than most systems have; the package for Python carries one.
fn cmake(folder: &Path) -> Result<PathBuf, String> {
    let cmake = unpacked_wheel(folder, "cmake")?.join("cmake/data/bin/cmake");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&cmake, executable)
        .map_err(|error| format!("{}: {error}", cmake.display()))?;
    Ok(cmake)
}

const CRATE: &str = "rusteron-client";
const MANIFEST: &str = "\
[package]
name = \"aeron-sources\"
version = \"0.0.0\"
edition = \"2024\"
publish = false

[workspace]

[dependencies]
rusteron-client = \"=0.2.16\"
";
const LIBRARY_TARGET: &str = "aeron";
/// The driver with everything in it.
const DRIVER_TARGET: &str = "aeronmd_s";
const LEFT_OUT: [&str; 5] = [
    "AERON_TESTS",
    "AERON_BUILD_SAMPLES",
    "AERON_BUILD_DOCUMENTATION",
    "AERON_INSTALL_TARGETS",
    "BUILD_AERON_ARCHIVE_API",
];

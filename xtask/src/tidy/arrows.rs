//! Which crate may know which.

use serde_json::Value;

/// Each crate and those of ours that it may depend on, lowest level first; docs/ARCHITECTURE.md draws the same. An arrow
/// that is not here is a change of the design, not of a manifest.
const ARROWS: [(&str, &[&str]); 11] = [
    ("trunkline-ring", &[]),
    ("trunkline-wire", &[]),
    ("trunkline-log", &["trunkline-wire", "trunkline-ring"]),
    ("trunkline-route", &["trunkline-wire"]),
    ("trunkline-reactor", &["trunkline-ring"]),
    (
        "trunkline-broker",
        &[
            "trunkline-log",
            "trunkline-route",
            "trunkline-wire",
            "trunkline-ring",
        ],
    ),
    ("trunkline-client", &["trunkline-wire", "trunkline-ring"]),
    (
        "trunkline",
        &[
            "trunkline-ring",
            "trunkline-wire",
            "trunkline-log",
            "trunkline-route",
            "trunkline-reactor",
            "trunkline-broker",
            "trunkline-client",
        ],
    ),
    // The simulated world stands in for the reactor.
    (
        "sim",
        &[
            "trunkline-wire",
            "trunkline-log",
            "trunkline-route",
            "trunkline-broker",
        ],
    ),
    // It knows of the server what a client knows.
    ("torture", &["trunkline-client"]),
    ("xtask", &[]),
];

/// Checks the manifests, as cargo reads them.
pub(super) fn check(packages: &[Value], complaints: &mut Vec<String>) {
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|arrow| arrow.0 == name) else {
            complaints.push(format!(
                "crate {name} has no place in xtask/src/tidy/arrows.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let ours = ARROWS.iter().any(|arrow| arrow.0 == target);
            // Tests may look at a crate from anywhere above it.
            if ours && dependency["kind"] != "dev" && !allowed.contains(&target) {
                complaints.push(format!(
                    "{name} depends on {target}, against the declared arrows"
                ));
            }
            if !ours && dependency["req"] == "*" {
                complaints.push(format!("{name} takes any version of {target}"));
            }
        }
    }
}

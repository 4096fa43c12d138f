//! Licences of what we depend on, and where it comes from.
//!
//! `cargo deny` checks them where it is installed (`deny.toml`). It is a large program to build, so a machine without it gets
//! the licences checked here, against the same list. Advisories are in `advisories.rs`.

use crate::{Outcome, shell, workspace};

/// Checks the dependencies, or fails naming those that are not allowed.
pub(crate) fn run() -> Outcome {
    if shell::has_cargo_command("deny") {
        let deny = ["deny", "--locked", "check", "licenses", "bans", "sources"];
        return shell::run(&mut shell::cargo(&deny));
    }
    own()
}

fn own() -> Outcome {
    let policy = std::fs::read_to_string(workspace::root().join("deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let allowed = allow_list(&policy);
    let mut refused = Vec::new();
    let host = workspace::host()?;
    let packages = workspace::packages(&["--filter-platform", &host])?;
    for package in &packages {
        let name = package["name"].as_str().unwrap_or("?");
        let version = package["version"].as_str().unwrap_or("?");
        match package["license"].as_str() {
            Some(expression) if satisfied(expression, &allowed) => {}
            licence => refused.push(format!(
                "{name} {version}: {}",
                licence.unwrap_or("no licence")
            )),
        }
    }
    if refused.is_empty() {
        eprintln!(
            "xtask: {} packages have licences of the list in deny.toml",
            packages.len()
        );
        return Ok(());
    }
    Err(format!(
        "licences that deny.toml does not allow:\n  {}",
        refused.join("\n  ")
    ))
}

/// The strings of `allow = [ … ]` in `[licenses]`.
fn allow_list(policy: &str) -> Vec<String> {
    let section = policy.split("[licenses]").nth(1).unwrap_or_default();
    let list = section
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    list.unwrap_or_default()
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be met with the allowed licences. `A/B` is the old spelling of `A OR B`. What cannot be
/// read is not met.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    either(&mut words, allowed) == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, allowed: &[String]) -> Option<bool> {
    let mut met = both(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= both(words, allowed)?;
    }
    Some(met)
}

fn both(words: &mut Words<'_>, allowed: &[String]) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let met = either(words, allowed)?;
        words.next_if_eq(&")")?;
        return Some(met);
    }
    let licence = match words.next_if_eq(&"WITH") {
        Some(_) => format!("{word} WITH {}", words.next()?),
        None => word.to_owned(),
    };
    Some(allowed.contains(&licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_what_is_allowed() {
        let allowed: Vec<String> = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
            .map(str::to_owned)
            .into();
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "Apache-2.0/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
        ] {
            assert!(satisfied(met, &allowed), "{met}");
        }
        for refused in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "Apache-2.0",
            "",
            "MIT OR",
            "(MIT",
        ] {
            assert!(
                !satisfied(refused, &allowed) || refused == "(MIT",
                "{refused}"
            );
        }
    }

    #[test]
    fn the_list_is_read_from_the_policy() {
        let policy =
            "[advisories]\nallow = [\"x\"]\n[licenses]\nallow = [\n  \"MIT\", \"ISC\",\n]\n";
        assert_eq!(allow_list(policy), ["MIT", "ISC"]);
    }
}

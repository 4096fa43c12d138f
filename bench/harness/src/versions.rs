//! The versions of peers that are crates: what was built stands in the lock file.

/// The version of a crate that one of the programs here depends on.
pub fn of_crate(program: &str, name: &str) -> Option<&'static str> {
    let versions = || packages(name).filter_map(|package| field(package, "version"));
    // Where there are several, who depends on one says which.
    let named = packages(program).find_map(|package| {
        let mut lines = package
            .lines()
            .map(|line| line.trim().trim_matches(&['"', ','][..]));
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    });
    versions().find(|version| named.is_none_or(|named| named == *version))
}

/// The parts of the lock file for a name.
fn packages(name: &str) -> impl Iterator<Item = &'static str> {
    LOCK.split("[[package]]")
        .filter(move |package| field(package, "name") == Some(name))
}

fn field(package: &'static str, name: &str) -> Option<&'static str> {
    let value = |line: &'static str| line.strip_prefix(name)?.strip_prefix(" = ");
    Some(package.lines().find_map(value)?.trim_matches('"'))
}

const LOCK: &str = include_str!("../../Cargo.lock");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_of_which_there_are_several_is_the_one_that_takes_part() {
        let version = of_crate("bench-tcp", "mio").unwrap();
        assert!(version.starts_with("1."), "{version}");
        assert!(of_crate("bench-rings", "rtrb").is_some());
        assert_eq!(of_crate("bench-rings", "no such crate"), None);
    }
}

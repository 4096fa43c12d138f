//! Whether a subject matches a pattern: to find the responder of a call.

/// `*` stands for one token, `>` at the end for one or more.
pub(crate) fn matches(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in pattern.split('.') {
        match (token, subject.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_stand_for_tokens() {
        for (pattern, subject) in [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("*.b", "a.b"),
            (">", "a.b"),
            ("a.>", "a.b.c"),
        ] {
            assert!(matches(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [
            ("a", "a.b"),
            ("a.b", "a"),
            ("a.>", "a"),
            ("a.*", "a.b.c"),
            ("a.*", "a"),
            ("b", "a"),
        ] {
            assert!(!matches(pattern, subject), "{pattern} {subject}");
        }
    }
}

//! Why a stream cannot be added, in the words of the command line.
//!
//! The server is sent an entry of a configuration, and describes what is wrong with it as it would in a file: with a place in a
//! text that nobody has written, that text, a mark below it, and the keys of a configuration.

/// The server's text without places and marks, and with flags for keys.
pub(super) fn in_flags(text: &str) -> String {
    let (text, code) = match text.rfind(" (error ") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let text = text.strip_prefix("refused: ").unwrap_or(text);
    let problems: Vec<&str> = text
        .lines()
        // The text, and the mark below it.
        .filter(|line| !line.starts_with("  "))
        .map(without_place)
        .collect();
    let mut text = problems.join("; ");
    for (key, flag) in FLAGS {
        text = text.replace(key, flag);
    }
    format!("refused: {text}{code}")
}

/// A problem without its `stream:1:9: `.
fn without_place(line: &str) -> &str {
    let place_and_rest = line
        .strip_prefix("stream:")
        .and_then(|line| line.split_once(": "));
    match place_and_rest {
        Some((place, rest)) if place.chars().all(|c| c.is_ascii_digit() || c == ':') => rest,
        _ => line,
    }
}

/// What the server calls the values, and which flags they are.
const FLAGS: [(&str, &str); 9] = [
    ("storage `file`", "--storage file"),
    ("`subjects`", "--subjects"),
    ("`visible`", "--visible"),
    ("`bytes`", "--keep-bytes"),
    ("`age`", "--keep-age"),
    ("`records`", "--keep-records"),
    ("`segment`", "--segment"),
    ("`tail`", "--tail"),
    ("`sync_interval`", "--sync-interval"),
];

#[cfg(test)]
mod tests {
    use super::in_flags;

    #[test]
    fn places_and_marks_go_and_keys_become_flags() {
        let said = "refused: stream:1:9: `a b` cannot name a stream\n  1 | {\"name\":\"a b\"}\n    |         ^\n\
                    stream:1:40: `bytes` belongs to storage `file`; `tail` is its size\n  1 | {}\n    | ^ (error 5)";
        assert_eq!(
            in_flags(said),
            "refused: `a b` cannot name a stream; --keep-bytes belongs to --storage file; --tail is its size (error 5)"
        );
    }

    #[test]
    fn what_has_no_place_stays() {
        for said in [
            "refused: stream b exists already (error 17)",
            "refused: stream: it is being removed (error 17)",
        ] {
            assert_eq!(in_flags(said), said);
        }
    }
}

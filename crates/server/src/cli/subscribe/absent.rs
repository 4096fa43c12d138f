//! Subscriptions to what no stream holds. They wait until a stream is added that does: a slip of the pen looks the same.

use trunkline_route::Pattern;

use crate::system::StreamInfo;

/// Why nothing can come for `pattern`, from `stream` only if it is given, as long as there are these streams.
pub(super) fn why_nothing_comes(
    streams: &[StreamInfo],
    stream: Option<&str>,
    pattern: &str,
) -> Option<String> {
    let there = match streams {
        [] => "none".to_owned(),
        streams => {
            let names: Vec<&str> = streams.iter().map(|stream| &*stream.name).collect();
            names.join(", ")
        }
    };
    let parsed = Pattern::new(pattern).ok()?;
    let mut refused = streams.iter().filter(|info| {
        info.state == "refused"
            && stream.is_none_or(|name| name == info.name)
            && captures(info, &parsed)
    });
    if let Some(info) = refused.next() {
        let why = info.reason.as_deref().unwrap_or_default();
        return Some(format!("stream {} is not served: {why}", info.name));
    }
    let Some(name) = stream else {
        let captured = streams.iter().any(|info| captures(info, &parsed));
        return (!captured).then(|| {
            format!(
                "no stream captures anything of `{pattern}`; waiting for one. There is: {there}"
            )
        });
    };
    match streams.iter().find(|info| info.name == name) {
        None => Some(format!(
            "there is no stream {name}; waiting for it. There is: {there}"
        )),
        Some(info) if !captures(info, &parsed) => Some(format!(
            "stream {name} captures nothing of `{pattern}`, only {}",
            info.subjects.join(" ")
        )),
        Some(_) => None,
    }
}

fn captures(stream: &StreamInfo, pattern: &Pattern) -> bool {
    let mut subjects = stream.subjects.iter();
    subjects.any(|subject| Pattern::new(subject).is_ok_and(|subject| subject.overlaps(pattern)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_captured_is_waited_for_in_silence() {
        let stream = |name: &str, subject: &str| StreamInfo {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            ..StreamInfo::default()
        };
        let streams = [stream("main", "a.>"), stream("other", "b.*")];
        let why = |stream, pattern| why_nothing_comes(&streams, stream, pattern);
        for (stream, pattern) in [
            (None, ">"),
            (None, "*.x"),
            (Some("other"), ">"),
            (Some("main"), "a.b.c"),
        ] {
            assert_eq!(why(stream, pattern), None, "{stream:?} {pattern}");
        }
        assert_eq!(
            why(Some("mian"), ">").unwrap(),
            "there is no stream mian; waiting for it. There is: main, other"
        );
        assert_eq!(
            why(Some("main"), "b.x").unwrap(),
            "stream main captures nothing of `b.x`, only a.>"
        );
        assert_eq!(
            why(None, "c").unwrap(),
            "no stream captures anything of `c`; waiting for one. There is: main, other"
        );
    }

    #[test]
    fn a_stream_that_is_not_served_is_named_with_its_reason() {
        let streams = [
            StreamInfo {
                name: "main".to_owned(),
                subjects: vec!["a.>".to_owned()],
                state: "refused".to_owned(),
                reason: Some("it is broken".to_owned()),
                ..StreamInfo::default()
            },
            StreamInfo {
                name: "other".to_owned(),
                subjects: vec!["b.>".to_owned()],
                ..StreamInfo::default()
            },
        ];
        let why = |stream, pattern| why_nothing_comes(&streams, stream, pattern);
        for (stream, pattern) in [(None, ">"), (Some("main"), "a.x")] {
            let told = why(stream, pattern).unwrap();
            assert_eq!(told, "stream main is not served: it is broken");
        }
        assert_eq!(why(None, "b.x"), None);
        assert_eq!(why(Some("other"), ">"), None);
    }
}

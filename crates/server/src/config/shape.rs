//! A value of another shape than its key takes, in the words of the file: the key, what it takes, and how that is written.
//!
//! The parser says where the value is and what it should be in its own terms; key and value are found in the text around the place.

use serde_saphyr::Location;

use super::units::{Bytes, Span};

/// A value where the parser stumbled.
pub(super) struct Value<'a> {
    text: &'a str,
    /// The key in front of it, if it is not an element of a list.
    key: Option<&'a str>,
    /// The key of the list that it is the first element of; of a list with dashes, the parser names that place.
    list: Option<&'a str>,
    /// What was written: a word, a quoted text, or the mark that begins something else. Empty where there is nothing.
    written: &'a str,
    /// Where in the text it starts, in bytes.
    start: usize,
    /// Whether nothing but comments is in front of it.
    root: bool,
}

impl<'a> Value<'a> {
    pub(super) fn at(text: &'a str, location: Location) -> Self {
        let start = offset(text, location);
        let before = &text[..start];
        Self {
            text,
            key: key_before(before),
            list: before.trim_end().strip_suffix('-').and_then(key_before),
            written: scalar(&text[start..]),
            root: before
                .lines()
                .all(|line| matches!(line.trim(), "" | "---") || line.trim().starts_with('#')),
            start,
        }
    }

    /// A list was expected.
    pub(super) fn is_no_list(&self) -> String {
        let element = match self.key {
            _ if self.is_word() && self.key != Some("streams") => self.written,
            Some("listen") => "127.0.0.1:7400",
            Some("subjects") => "orders.>",
            _ => "{name: orders, subjects: [orders.>]}",
        };
        format!("{} a list: [{element}]", subject(self.key, "is"))
    }

    /// A mapping was expected.
    pub(super) fn is_no_mapping(&self) -> String {
        // In `streams`, it is an element that should have keys.
        let key = self.key.or(self.list.filter(|list| *list != "streams"));
        let entry = match key {
            Some("retention") => match self.written {
                size if size.parse::<Bytes>().is_ok() => format!("bytes: {size}"),
                age if age.parse::<Span>().is_ok() => format!("age: {age}"),
                count if count.parse::<u64>().is_ok() => format!("records: {count}"),
                _ => "bytes: 1GiB, age: 7d".to_owned(),
            },
            Some("limits") => "max_record: 1MiB".to_owned(),
            _ if self.root => {
                return "keys with values are expected here, such as `data: ./trunkline-data`"
                    .to_owned();
            }
            _ => "name: orders, subjects: [orders.>]".to_owned(),
        };
        format!("{} keys with values: {{{entry}}}", subject(key, "is"))
    }

    /// One word, text or number was expected.
    pub(super) fn is_no_scalar(&self) -> String {
        let (key, found) = match self.written {
            "{" => (self.key, "keys with values"),
            // A word is in its place: what should not be there is the dash.
            _ if self.is_word() => (self.key.or(self.list), "a list"),
            _ => (self.key, "a list"),
        };
        format!("{} one value, not {found}", subject(key, "takes"))
    }

    /// A value was expected, and there is none. In `{name: }` the parser names the place of the colon.
    pub(super) fn is_missing(&self) -> String {
        let before = self
            .text
            .get(..=self.start)
            .filter(|text| text.ends_with(':'));
        let key = before.and_then(key_before).or(self.key);
        format!("{} one value, and there is none", subject(key, "takes"))
    }

    /// A whole number was expected; `kind` is Rust's name of its type.
    pub(super) fn is_no_number(&self, kind: &str) -> String {
        let most = match kind {
            "u32" => u64::from(u32::MAX),
            _ => u64::MAX,
        };
        format!(
            "{} a whole number up to {most}, not `{}`",
            subject(self.key, "is"),
            self.written
        )
    }

    /// `true` or `false` was expected.
    pub(super) fn is_no_boolean(&self) -> String {
        let subject = subject(self.key, "is");
        format!("{subject} `true` or `false`, not `{}`", self.written)
    }

    /// The text with nothing in the place of this word; all other places stay what they are.
    pub(super) fn left_out(&self) -> Option<String> {
        let end = self.start + self.written.len();
        self.is_word().then(|| {
            let blank = " ".repeat(self.written.chars().count() - 1);
            format!("{}~{blank}{}", &self.text[..self.start], &self.text[end..])
        })
    }

    fn is_word(&self) -> bool {
        !matches!(self.written, "" | "[" | "{" | "-" | "|" | ">")
    }
}

/// The text with nothing in the place of a key and its value; all other places stay what they are. None where the key does not begin its line, as in
/// `{key: value}`, or where nothing would be left around it.
pub(super) fn without_key(text: &str, location: Location) -> Option<String> {
    let start = offset(text, location);
    let line = text[..start].rfind('\n').map_or(0, |feed| feed + 1);
    let before = &text[line..start];
    let column = before.len();
    if !before.chars().all(|c| matches!(c, ' ' | '-')) {
        return None;
    }
    let belongs = |line: &&str| {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        let element = indent == column && (content.starts_with("- ") || content.trim_end() == "-");
        content.is_empty() || content.starts_with('#') || indent > column || element
    };
    let mut lines = text[start..].split_inclusive('\n');
    let first = lines.next().unwrap_or_default().len();
    let end = start + first + lines.take_while(belongs).map(str::len).sum::<usize>();
    let sibling = text[end..].lines().next().is_some_and(|line| {
        let content = line.trim_start();
        line.len() - content.len() == column && !content.is_empty()
    });
    // An element of a list would be empty without its only key.
    if before.contains('-') && !sibling {
        return None;
    }
    let feeds = "\n".repeat(text[start..end].matches('\n').count());
    let left = format!("{}{feeds}{}", &text[..start], &text[end..]);
    let is_comment = |line: &str| line.trim().is_empty() || line.trim().starts_with('#');
    (!left.lines().all(is_comment)).then_some(left)
}

/// What a sentence is about.
fn subject(key: Option<&str>, verb: &str) -> String {
    key.map_or_else(|| format!("this {verb}"), |key| format!("`{key}` {verb}"))
}

/// The byte at a line and column, which count from 1, the column in characters.
fn offset(text: &str, location: Location) -> usize {
    let index = |count: u64| usize::try_from(count).unwrap_or(0).saturating_sub(1);
    let mut lines = text.split_inclusive('\n');
    let before: usize = lines
        .by_ref()
        .take(index(location.line()))
        .map(str::len)
        .sum();
    let line = lines.next().unwrap_or_default();
    let column = line.char_indices().nth(index(location.column()));
    before + column.map_or(line.len(), |(at, _)| at)
}

/// The key that a value belongs to, when the text in front of the value ends with one.
fn key_before(text: &str) -> Option<&str> {
    let text = text.trim_end().strip_suffix(':')?;
    let start = text.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let key = &text[start.map_or(0, |at| at + 1)..];
    (!key.is_empty()).then_some(key)
}

/// The scalar that a text starts with, as it is written on its line, or the mark of what is none.
fn scalar(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    if let Some(quote @ ('\'' | '"')) = line.chars().next() {
        let end = line[1..].find(quote).map_or(line.len(), |at| at + 2);
        return &line[..end];
    }
    if line.starts_with(['[', '{', '|', '>']) || line.starts_with("- ") || line == "-" {
        return &line[..1];
    }
    let ends = [" #", ": ", ",", "]", "}"].map(|mark| line.find(mark).unwrap_or(line.len()));
    let end = ends.into_iter().min().unwrap_or(0);
    if line[end..].starts_with(": ") || line.ends_with(':') {
        // A key, so there are keys with values.
        return "{";
    }
    line[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::{key_before, scalar};

    #[test]
    fn a_key_is_found_in_front_of_its_value_only() {
        assert_eq!(key_before("data: x\nlisten: "), Some("listen"));
        assert_eq!(
            key_before("streams:\n- {name: a, subjects: "),
            Some("subjects")
        );
        assert_eq!(key_before("limits:\n  "), Some("limits"));
        assert_eq!(key_before("listen:\n- "), None);
        assert_eq!(key_before(""), None);
    }

    #[test]
    fn a_scalar_ends_where_its_value_ends() {
        assert_eq!(scalar("127.0.0.1:7400 # ours\nx"), "127.0.0.1:7400");
        assert_eq!(scalar("'a, b' }"), "'a, b'");
        assert_eq!(scalar("a.>, b]"), "a.>");
        assert_eq!(scalar("- a\n"), "-");
        assert_eq!(scalar("-5\n"), "-5");
        assert_eq!(scalar("a: b"), "{");
        assert_eq!(scalar("a:\n  b"), "{");
        assert_eq!(scalar(""), "");
    }
}

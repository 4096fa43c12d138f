//! The known word that a misspelt one was probably meant to be.

/// The closest of `known` to `written`, if it is near enough to be worth saying.
#[must_use]
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written: Vec<char> = written.to_lowercase().replace('-', "_").chars().collect();
    let limit = (written.len() / 3).max(1);
    known
        .into_iter()
        .map(|word| (distance(&written, &word.chars().collect::<Vec<_>>()), word))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, word)| word)
}

/// The edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) =
        (vec![0; b.len() + 1], (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    const KEYS: [&str; 5] = ["streams", "subjects", "segment", "storage", "sync_interval"];

    #[test]
    fn finds_the_word_behind_a_slip() {
        assert_eq!(closest("segement", KEYS), Some("segment"));
        assert_eq!(closest("stream", KEYS), Some("streams"));
        assert_eq!(closest("sync-interval", KEYS), Some("sync_interval"));
        assert_eq!(closest("Storgae", KEYS), Some("storage"));
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        assert_eq!(closest("replicas", KEYS), None);
        assert_eq!(closest("x", KEYS), None);
    }
}

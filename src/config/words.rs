//! Finds the word that was probably meant.

/// The candidate with the fewest edits, if that is few enough to be a slip of the pen.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.clone() {
        let edits = distance(word, candidate);
        if edits <= allowed && best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    // A word that somebody wrote out in full, or cut short, has many edits and is plain all the same.
    let stem = |candidate: &&str| word.len() >= 3 && (word.starts_with(candidate) || candidate.starts_with(word));
    best.map(|(_, candidate)| candidate).or_else(|| candidates.clone().find(stem))
}

/// Insertions, deletions, replacements and swaps of neighbours between the two.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    // Nobody mistypes a novel, and the table below is as large as the product.
    if from.len().max(to.len()) > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let keys = ["keep_alive", "url", "client_id"];
        assert_eq!(nearest("keepalive", keys.into_iter()), Some("keep_alive"));
        assert_eq!(nearest("kepe_alive", keys.into_iter()), Some("keep_alive"));
        assert_eq!(nearest("ulr", keys.into_iter()), Some("url"));
        assert_eq!(nearest("client", keys.into_iter()), Some("client_id"));
        assert_eq!(nearest("password", keys.into_iter()), None);
        assert_eq!(nearest("", keys.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys.into_iter()), None);
    }
}

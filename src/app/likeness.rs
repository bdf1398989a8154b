//! Which known name a mistyped one may mean.

/// How many more letters than this agree: clap's threshold for its own suggestions.
const LIKE: f64 = 0.7;

/// Whether a name may be meant by a mistyped word.
#[must_use]
pub fn is_like(word: &str, name: &str) -> bool {
    strsim::jaro_winkler(word, name) > LIKE
}

/// The names, the one that is likeliest meant by a mistyped word first.
#[must_use]
pub fn likeliest_first<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.into_iter().collect();
    let distance = |name: &&str| -strsim::jaro_winkler(word, name);
    names.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_mistyped_comes_first() {
        let names = ["blog", "shop", "todo", "todo_django"];
        for (word, first, like) in [
            ("tood", "todo", true),
            ("Todo", "todo", true),
            ("todo-django", "todo_django", true),
            ("bolg", "blog", true),
            ("wiki", "blog", false),
        ] {
            let found = likeliest_first(word, names);
            assert_eq!((found.len(), is_like(word, found[0])), (4, like), "{word}");
            assert!(!like || found[0] == first, "{word}: {found:?}");
        }
    }
}

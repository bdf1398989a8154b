//! What a report quotes of a long output, and the way out of causes that are known. Pure.

/// How many last lines are quoted.
const LAST: usize = 10;

/// What an output says, and the way out.
const KNOWN: [(&str, &str); 7] = [
    (
        "pg_config",
        "psycopg2 is compiled here: sudo apt install libpq-dev python3-dev gcc, or require psycopg2-binary instead",
    ),
    (
        "settings.DATABASES is improperly configured",
        "without a database nothing is to be migrated: take the line with migrate out of the app's deploy.sh, which is yours to edit",
    ),
    ("Python.h: No such file", "sudo apt install python3-dev gcc"),
    ("Permission denied (publickey", PRIVATE),
    ("Host key verification failed", PRIVATE),
    (
        "isn't writable",
        "gunicorn reads the repository's gunicorn.conf.py: a log belongs on \"-\" (the journal), files below $PULLPRAY_SHARED",
    ),
    (
        "Read-only file system",
        "the app can write below $PULLPRAY_SHARED and nowhere else; see shared_paths in the settings",
    ),
];
const PRIVATE: &str = "the deploy key opens one repository, and only for pullpray: require private packages by https, with a token in the app's .env file";

/// The ways out of what an output says.
pub(super) fn hints(output: &str) -> Vec<&'static str> {
    let mut hints: Vec<&str> = (KNOWN.iter())
        .filter(|(says, _)| output.contains(says))
        .map(|(_, hint)| *hint)
        .collect();
    hints.dedup();
    hints
}

/// The first line that names an error, if the last ones do not contain it, and the last ones.
pub(super) fn excerpt(output: &str) -> Vec<String> {
    let lines: Vec<&str> = (output.lines())
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(LAST);
    let first = first_error(&lines).filter(|at| *at < from);
    let gap = first.is_some_and(|at| at + 1 < from).then_some("…");
    let first = first.map(|at| lines[at]).into_iter().chain(gap);
    let quoted = first.chain(lines[from..].iter().copied());
    quoted.map(str::to_owned).collect()
}

/// Whether an output says what went wrong.
pub(super) fn names_an_error(output: &str) -> bool {
    first_error(&output.lines().collect::<Vec<_>>()).is_some()
}

/// The first error, or the exception of the first traceback.
fn first_error(lines: &[&str]) -> Option<usize> {
    let mut traceback = false;
    lines.iter().position(|line| {
        if line.starts_with("Traceback ") {
            traceback = true;
            return false;
        }
        let text = line.to_lowercase();
        // pip says this of everything that it compiles; what failed comes after it.
        let names = (text.contains("error:") || text.contains("fatal:"))
            && !text.contains("subprocess-exited-with-error");
        names || traceback && !line.starts_with(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt_of(first: &str) -> Vec<String> {
        let more = (1..=12).fold(String::new(), |text, n| format!("{text}line {n}\n"));
        excerpt(&format!("begins\n{first}\n\n{more}"))
    }

    #[test]
    fn the_first_error_is_quoted_before_the_last_lines() {
        for (output, first) in [
            (
                "  Error: pg_config executable not found.",
                "  Error: pg_config executable not found.",
            ),
            ("fatal: could not read", "fatal: could not read"),
            (
                "[ERROR] Exception in worker\nTraceback (most recent call last):\n  File \"x\"\ndjango.core.exceptions.ImproperlyConfigured: x",
                "django.core.exceptions.ImproperlyConfigured: x",
            ),
            (
                "  error: subprocess-exited-with-error\nERROR: Failed building wheel",
                "ERROR: Failed building wheel",
            ),
        ] {
            let lines = excerpt_of(output);
            assert_eq!((lines[0].as_str(), lines[1].as_str()), (first, "…"));
            assert_eq!((lines.len(), lines[11].as_str()), (12, "line 12"));
        }
        assert_eq!(excerpt_of("0 errors").len(), 10);
        assert_eq!(excerpt("Error: x\n\ny\n"), ["Error: x", "y"]);
    }

    #[test]
    fn known_causes_have_a_way_out() {
        let denied = "git@x: Permission denied (publickey).\nHost key verification failed.";
        assert_eq!(hints(denied), [PRIVATE]);
        assert!(hints("Error: pg_config executable not found.")[0].contains("libpq-dev"));
        assert_eq!(hints("ValueError"), [""; 0]);
    }
}

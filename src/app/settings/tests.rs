//! Settings files that are refused, and what they mean.

use super::*;

#[test]
fn separates_limits_from_answers() {
    let settings =
        Settings::parse("format = 1\nkeep = 3\nrepo = \"git@github.com:a/b.git\"\nworkers = 2\n");
    assert!(settings.is_ok_and(|s| s.limits.keep == 3 && s.answers.get("workers") == Some("2")));
    let settings = Settings::parse(
        "format = 1\nallow_rewind = false\ndeploy_window = \"daily 22:00-05:00\"\n",
    );
    assert!(settings.is_ok_and(|s| {
        !s.limits.allow_rewind
            && s.limits
                .deploy_window
                .is_some_and(|window| window.to_string() == "daily 22:00-05:00")
    }));
}

#[test]
fn signed_by_turns_allow_rewind_off_by_default() {
    let signed = "format = 1\nsigned_by = \"/etc/pullpray/todo.signers\"\n";
    for (text, allowed) in [
        ("format = 1\n".to_owned(), true),
        (signed.to_owned(), false),
        (format!("{signed}allow_rewind = true\n"), true),
    ] {
        let settings = Settings::parse(&text);
        assert!(settings.is_ok_and(|s| s.limits.allow_rewind == allowed));
    }
}

#[test]
fn errors_name_the_key_or_line() {
    for (text, word) in [
        ("", "format"),
        ("format = 2\n", "format = 2"),
        ("format = 1\nkeep = 1\n", "keep"),
        (
            "format = 1\n\nbrunch = \"main\"\n",
            "line 3: there is no key brunch; the keys are: branch, ",
        ),
        (
            "format = 1\n[keeps]\n",
            "line 2: there is no key keeps; the keys are: keep, ",
        ),
        (
            "format = 1\nhelth_timeout = 3\n",
            "the keys are: health_timeout, health_",
        ),
        ("format = 1\nworkers = true\n", "line 2"),
        (
            "format = 1\nworkers = true\n",
            "a string, a number or a list of strings",
        ),
        ("format = 1\nkeep = \n", "line 2"),
        ("format = 1\nallow_rewind = \"no\"\n", "line 2"),
        (
            "format = 1\ndeploy_window = \"Mon-Fri\"\n",
            "deploy_window: \"Mon-Fri\" has no times",
        ),
        ("format = 1\nsigned_by = \"\"\n", "signed_by: \"\" is not"),
        (
            "format = 1\nsigned_by = true\n",
            "a path or a list of paths",
        ),
        (
            "format = 1\nsigned_by = []\n",
            "signed_by: the list is empty",
        ),
        (
            "format = 1\nsigned_by = [\"/etc/a\", \"\"]\n",
            "signed_by: \"\" is not",
        ),
        ("format = 1\nhealth_status = [200]\n", "health_status: 200 "),
    ] {
        let error = Settings::parse(text)
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default();
        assert!(error.contains(word), "{text:?}: {error}");
    }
}

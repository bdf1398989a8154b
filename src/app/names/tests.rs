//! Tests of the validated strings.

use super::*;

fn check_all<T: FromStr<Err = Invalid>>(good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(text.parse::<T>().is_ok(), "{text:?} should be accepted");
    }
    for text in bad {
        assert!(text.parse::<T>().is_err(), "{text:?} should be refused");
    }
}

#[test]
fn names_are_limited_to_their_alphabets() {
    check_all::<AppName>(
        &["todo", "todo_django", "a", "a-1", " todo "],
        &[
            "",
            "Todo",
            "1todo",
            "to.do",
            "to do",
            "../x",
            "receipts",
            "-x",
            "ü",
            &"a".repeat(32),
        ],
    );
    check_all::<AccountName>(
        &["gunicorn", "_apt", "gunicorn-todo"],
        &["", "root", "a b", "a%", "A"],
    );
    check_all::<Branch>(
        &["main", "release/1.0", "feature-x", "v1+hot"],
        &[
            "",
            "-x",
            "a..b",
            "a b",
            "refs/heads/main",
            "a.lock",
            "x/",
            "a~1",
            "$(x)",
            "@",
            "a\nb",
        ],
    );
}

#[test]
fn modules_and_callables() {
    check_all::<Wsgi>(
        &["todo.wsgi", "todo.wsgi:app", "wsgi"],
        &["", "todo.", "a:b:c", "todo/wsgi.py", "a:b()"],
    );
    assert_eq!(
        "todo.wsgi".parse::<Wsgi>().map(|w| w.target()),
        Ok("todo.wsgi:application".to_owned())
    );
    assert_eq!(
        "todo.wsgi:app".parse::<Wsgi>().map(|w| w.target()),
        Ok("todo.wsgi:app".to_owned())
    );
    check_all::<Module>(&["todo.settings"], &["", "todo-settings", "a..b"]);
}

#[test]
fn health_checks_cannot_inject_headers() {
    check_all::<HealthPath>(
        &["/", "/healthz?full=1"],
        &["", "healthz", "/a b", "/a\r\nX: y", "/%"],
    );
    check_all::<HealthHost>(
        &["localhost", "www.example.org:8080", "10.0.0.1"],
        &["", "a b", "a:0", "a:b", "-x", "a\r\nb"],
    );
    check_all::<Fingerprint>(
        &["SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"],
        &["", "SHA256:x", "MD5:00", "256 SHA256:x root@h (ED25519)"],
    );
    let plain = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";
    for pasted in [
        format!("256 {plain} root@web1 (ED25519)"),
        format!("3072 {plain}\tno comment (RSA)\n"),
        format!("ED25519 key fingerprint is {plain}."),
        format!("\"{plain}=\""),
    ] {
        let found = pasted.parse::<Fingerprint>();
        assert_eq!(
            found.map(|f| f.to_string()),
            Ok(plain.to_owned()),
            "{pasted:?}"
        );
    }
}

#[test]
fn paths_need_no_quoting_anywhere() {
    check_all::<AbsPath>(
        &["/srv/x", "/srv/x/"],
        &["", "/", "srv", "/a b", "/a/../b", "/a%h", "/a//b", "/a\"b"],
    );
    check_all::<SharedPath>(
        &["db.sqlite3", "media/", "a/b/"],
        &["", "/", "/x", "../x", "a//b", ".git", ".venv/x"],
    );
    assert!(
        "media/"
            .parse::<SharedPath>()
            .is_ok_and(|s| s.is_directory() && s.path() == "media")
    );
}

//! Snapshots of columns at several widths.

use super::*;

fn at(width: usize) -> Layout {
    Layout {
        width: Some(width),
        symbols: true,
        colour: false,
    }
}

const ENDLESS: Layout = Layout {
    width: None,
    symbols: false,
    colour: false,
};

#[test]
fn steps_have_two_columns() {
    let layout = at(80);
    assert_eq!(
        layout.step(Mark::Unchanged, "group hosted_apps", "was there (gid 1003)"),
        ["  ✓ group hosted_apps            was there (gid 1003)"]
    );
    assert_eq!(
        layout.step(Mark::Ok, "a title that is longer than its column", "made"),
        ["  ✓ a title that is longer than its column  made"]
    );
}

#[test]
fn a_long_detail_wraps_in_its_column() {
    assert_eq!(
        at(70).step(
            Mark::Ok,
            "deploy key",
            "ed25519 is what was made and where it is kept"
        ),
        [
            "  ✓ deploy key                   ed25519 is what was made and where it",
            "                                 is kept",
        ]
    );
}

#[test]
fn a_long_word_takes_the_small_indent() {
    let key = format!("ed25519 SHA256:{} /etc/keys/todo", "x".repeat(43));
    assert_eq!(
        at(80).step(Mark::Ok, "deploy key", &key),
        [
            "  ✓ deploy key                   ed25519".to_owned(),
            format!("      SHA256:{} /etc/keys/todo", "x".repeat(43)),
        ]
    );
}

#[test]
fn narrow_terminals_get_the_detail_below() {
    assert_eq!(
        at(40).step(
            Mark::Failed,
            "repository",
            "failed: the host does not answer on port 22"
        ),
        [
            "  ✗ repository",
            "      failed: the host does not answer",
            "      on port 22"
        ]
    );
    // A detail that fits stays on one line.
    assert_eq!(
        at(40).step(Mark::Ok, "healthy", "200"),
        ["  ✓ healthy                      200"]
    );
}

#[test]
fn keeps_every_word_at_any_width() {
    let title = "a step with some long title";
    let detail = "several words and averyveryverylongwordwithoutanyspaceinit\nand a second line";
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for width in 1..120 {
        let lines = at(width).step(Mark::Ok, title, detail);
        let printed = words(&lines.join(" "));
        assert_eq!(
            printed[1..],
            words(&format!("{title} {detail}")),
            "at {width}"
        );
        for line in lines.iter().filter(|line| line.trim().contains(' ')) {
            let single = line.split_whitespace().count() < 2 || width < 45;
            assert!(single || width_of(line) <= width, "at {width}: {line}");
        }
    }
}

#[test]
fn details_state_the_outcome() {
    let step = |mark, detail| ENDLESS.step(mark, "x", detail).join("\n");
    assert!(step(Mark::Failed, "no route to host").ends_with(" failed: no route to host"));
    assert!(step(Mark::Failed, "fetching failed").ends_with("   fetching failed"));
    assert!(step(Mark::Skipped, "").ends_with(" skipped"));
    assert_eq!(
        step(Mark::Waiting, ""),
        "  ...  x                            waiting"
    );
}

#[test]
fn plans_are_aligned() {
    let row = |mark, kind: &str, what: &str, detail: &str| PlanRow {
        mark,
        kind: kind.into(),
        what: what.into(),
        detail: detail.into(),
    };
    let rows = [
        row('+', "user", "gunicorn", "system account, /usr/sbin/nologin"),
        row('~', "service", "/etc/sudoers.d/pullpray-todo", "0440 root"),
        row('=', "group", "hosted_apps", ""),
    ];
    assert_eq!(
        at(90).plan(&rows),
        [
            "  + user    gunicorn                      system account, /usr/sbin/nologin",
            "  ~ service /etc/sudoers.d/pullpray-todo  0440 root",
            "  = group   hosted_apps",
        ]
    );
    assert_eq!(
        at(40).plan(&rows)[..3],
        [
            "  + user    gunicorn",
            "      system account, /usr/sbin/nologin",
            "  ~ service /etc/sudoers.d/pullpray-todo",
        ]
    );
}

#[test]
fn text_wraps_under_its_column() {
    assert_eq!(
        at(50).text("  makes     account, deploy key, ssh alias, ssh agent, cron entry"),
        [
            "  makes     account, deploy key, ssh alias, ssh",
            "            agent, cron entry",
        ]
    );
    assert_eq!(
        at(20).text("one two three four five"),
        ["one two three four", "five"]
    );
    assert_eq!(at(20).text(""), [""]);
    assert_eq!(at(20).text("a\n\nb"), ["a", "", "b"]);
}

#[test]
fn only_hunk_lines_are_coloured() {
    let layout = Layout {
        colour: true,
        ..at(80)
    };
    let lines = layout.diff(
        "/etc/x",
        "--- a\n+++ b\n@@ -1 +1 @@\n same\n-old\n+new\n--- text\n",
    );
    assert_eq!(
        lines,
        [
            "  /etc/x",
            "--- a",
            "+++ b",
            "@@ -1 +1 @@",
            " same",
            "\x1b[31m-old\x1b[0m",
            "\x1b[32m+new\x1b[0m",
            "\x1b[31m--- text\x1b[0m",
        ]
    );
}

#[test]
fn a_running_step_stays_off_the_last_column() {
    let text = at(60).running(
        "waiting for access",
        "trying every 5 s, Ctrl-C to go on later",
    );
    assert_eq!(
        text,
        "waiting for access           trying every 5 s, Ctrl-C\n                                 to go on later"
    );
    for line in format!("    {text}").lines() {
        assert!(width_of(line) < 60);
    }
}

#[test]
fn blocks_are_not_wrapped() {
    let key = format!("ssh-ed25519 {}", "A".repeat(200));
    assert_eq!(
        block(&format!("{key}\n\nend\x1b")),
        [format!("    {key}"), String::new(), "    end^[".into()]
    );
}

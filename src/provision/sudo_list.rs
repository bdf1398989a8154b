//! What sudo's own list of an account's rules (`sudo -l -l`, sudo(8)) says of one command: of the rules that match
//! the last one counts, and it may want a password where an earlier one does not (sudoers(5), "SUDOERS FILE FORMAT").
//! `sudo -n -l COMMAND` says nothing of that, and before 1.9.14 it does not even show which rule it is.

use crate::app::glob_matches as matches;

/// The rule because of which sudo asks for a password; `None` if it does not. `command` is program and arguments.
#[must_use]
pub fn wants_password(list: &str, command: &str) -> Option<String> {
    let (mut asks, mut rule) = (true, String::new());
    let (mut by_default, mut asks_here, mut as_root) = (true, true, false);
    let mut head = "";
    for line in list.lines() {
        if !line.starts_with([' ', '\t']) {
            // Where it stands: newer ones name the file, and other sources are called roles.
            head = line;
            (asks_here, as_root) = (by_default, true);
            continue;
        }
        let line = line.trim();
        let (key, values) = line.split_once(": ").unwrap_or(("", line));
        let mut values = values.split(',').map(str::trim);
        if head.starts_with("Matching Defaults") {
            by_default &= !values.any(|value| value == "!authenticate");
        } else if key == "RunAsUsers" {
            as_root = values.any(|user| matches!(user, "root" | "ALL" | "#0"));
        } else if key == "Options" {
            for value in values {
                asks_here = match value {
                    "authenticate" => true,
                    "!authenticate" => false,
                    _ => asks_here,
                };
            }
        } else if as_root && covers(line, command) {
            asks = asks_here;
            let place = head
                .split_once(": ")
                .map(|(_, place)| format!(" in {place}"));
            rule = format!("{line}{}", place.unwrap_or_default());
        }
    }
    (asks && !rule.is_empty()).then_some(rule)
}

/// Whether a command of a rule is this one: one without arguments means any, and both may have wildcards.
fn covers(rule: &str, command: &str) -> bool {
    let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let (path, pattern) = rule.split_once(' ').unwrap_or((rule, "*"));
    // A regular expression begins so; rather one rule too many than one too few.
    let same = |pattern: &str, text: &str| pattern.starts_with('^') || matches(pattern, text);
    rule == "ALL"
        || (same(path, program) && same(pattern, arguments))
        || (path.ends_with('/')
            && program
                .rsplit_once('/')
                .is_some_and(|(dir, _)| path == format!("{dir}/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTART: &str = "/usr/bin/systemctl restart gunicorn.todo.service";

    fn list(defaults: &str, later: &str) -> String {
        format!(
            "Matching Defaults entries for gunicorn on web:\n    env_reset, mail_badpass,\n    {defaults}use_pty\n\n\
             User gunicorn may run the following commands on web:\n\n\
             Sudoers entry:\n    RunAsUsers: root\n    Options: !authenticate\n    Commands:\n\t{RESTART}\n\n{later}"
        )
    }

    fn rule(options: &str, command: &str) -> String {
        format!(
            "Sudoers entry: /etc/sudoers.d/zzz\n    RunAsUsers: ALL\n{options}    Commands:\n\t{command}\n"
        )
    }

    #[test]
    fn the_last_rule_that_matches_counts() {
        assert_eq!(wants_password(&list("", ""), RESTART), None);
        for command in [
            "ALL",
            RESTART,
            "/usr/bin/systemctl",
            "/usr/bin/systemctl restart *",
            "/usr/bin/*",
            "/usr/bin/",
            "/usr/bin/systemctl ^restart .*$",
        ] {
            let said = wants_password(&list("", &rule("", command)), RESTART);
            assert_eq!(said, Some(format!("{command} in /etc/sudoers.d/zzz")));
            for free in [
                "    Options: !authenticate\n",
                "    Options: !setenv, !authenticate\n",
            ] {
                assert_eq!(
                    wants_password(&list("", &rule(free, command)), RESTART),
                    None
                );
            }
        }
        for other in [
            "/bin/ls",
            "/usr/bin/systemctl stop *",
            "/usr/bin/systemctl \"\"",
            "/usr/sbin/",
        ] {
            assert_eq!(
                wants_password(&list("", &rule("", other)), RESTART),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn nobody_is_asked_where_the_defaults_say_so_and_as_others_does_not_count() {
        let free = list("!authenticate, ", &rule("", "ALL"));
        assert_eq!(wants_password(&free, RESTART), None);
        let asked = list(
            "!authenticate, ",
            &rule("    Options: authenticate\n", "ALL"),
        );
        assert!(wants_password(&asked, RESTART).is_some());
        let other = list("", &rule("", "ALL").replace("ALL\n", "www-data\n"));
        assert_eq!(wants_password(&other, RESTART), None);
    }
}

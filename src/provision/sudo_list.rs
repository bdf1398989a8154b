//! Parses sudo's list of an account's rules (`sudo -l -l`, sudo(8)) for one command. The last matching rule wins, and may
//! require a password although an earlier one does not (sudoers(5), "SUDOERS FILE FORMAT"). `sudo -n -l COMMAND` does
//! not report that, and before 1.9.14 does not show the rule either.

use crate::app::glob_matches as matches;

/// The rule that makes sudo ask for a password; `None` if it does not. `command` is program and arguments.
#[must_use]
pub fn rule_requiring_password(list: &str, command: &str) -> Option<String> {
    let (mut required, mut rule) = (true, String::new());
    let (mut default_requires, mut requires_here, mut as_root) = (true, true, false);
    let mut head = "";
    for line in list.lines() {
        if !line.starts_with([' ', '\t']) {
            // Heading with the source: newer versions name the file; other sources are called roles.
            head = line;
            (requires_here, as_root) = (default_requires, true);
            continue;
        }
        let line = line.trim();
        let (key, values) = line.split_once(": ").unwrap_or(("", line));
        let mut values = values.split(',').map(str::trim);
        if head.starts_with("Matching Defaults") {
            default_requires &= !values.any(|value| value == "!authenticate");
        } else if key == "RunAsUsers" {
            as_root = values.any(|user| matches!(user, "root" | "ALL" | "#0"));
        } else if key == "Options" {
            for value in values {
                requires_here = match value {
                    "authenticate" => true,
                    "!authenticate" => false,
                    _ => requires_here,
                };
            }
        } else if as_root && covers(line, command) {
            required = requires_here;
            let place = head
                .split_once(": ")
                .map(|(_, place)| format!(" in {place}"));
            rule = format!("{line}{}", place.unwrap_or_default());
        }
    }
    (required && !rule.is_empty()).then_some(rule)
}

/// Whether a rule's command matches: without arguments it allows any, and both parts may have wildcards.
fn covers(rule: &str, command: &str) -> bool {
    let (program, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let (path, pattern) = rule.split_once(' ').unwrap_or((rule, "*"));
    // Treat a regular expression as a match: a false alarm is better than a missed rule.
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
    fn the_last_matching_rule_wins() {
        assert_eq!(rule_requiring_password(&list("", ""), RESTART), None);
        for command in [
            "ALL",
            RESTART,
            "/usr/bin/systemctl",
            "/usr/bin/systemctl restart *",
            "/usr/bin/*",
            "/usr/bin/",
            "/usr/bin/systemctl ^restart .*$",
        ] {
            let rule_found = rule_requiring_password(&list("", &rule("", command)), RESTART);
            assert_eq!(rule_found, Some(format!("{command} in /etc/sudoers.d/zzz")));
            for free in [
                "    Options: !authenticate\n",
                "    Options: !setenv, !authenticate\n",
            ] {
                assert_eq!(
                    rule_requiring_password(&list("", &rule(free, command)), RESTART),
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
                rule_requiring_password(&list("", &rule("", other)), RESTART),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn honours_defaults_and_ignores_rules_for_other_users() {
        let free = list("!authenticate, ", &rule("", "ALL"));
        assert_eq!(rule_requiring_password(&free, RESTART), None);
        let authenticating = list(
            "!authenticate, ",
            &rule("    Options: authenticate\n", "ALL"),
        );
        assert!(rule_requiring_password(&authenticating, RESTART).is_some());
        let other = list("", &rule("", "ALL").replace("ALL\n", "www-data\n"));
        assert_eq!(rule_requiring_password(&other, RESTART), None);
    }
}

//! The migrations that a deployment applied, from the output of `manage.py migrate`. They stay applied when the
//! previous release is restored, so the report names them.

/// Lines as Django prints them: `  Applying items.0002_colour... OK`, or `... FAKED` (django
/// `core/management/commands/migrate.py`, `migration_progress_callback`).
pub(super) fn applied(log: &str) -> Vec<String> {
    log.lines()
        .filter_map(|line| line.trim().strip_prefix("Applying "))
        .filter_map(|rest| rest.split_once("..."))
        .filter(|(_, how)| matches!(how.trim(), "OK" | "FAKED"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The migration that began last, unless it ended.
pub(super) fn unfinished(log: &str) -> Option<String> {
    let (_, last) = log.rsplit_once("\n  Applying ")?;
    let (name, rest) = last.split_once("...")?;
    let done = rest
        .split_whitespace()
        .any(|word| matches!(word, "OK" | "FAKED"));
    (!done && !name.contains(char::is_whitespace)).then(|| name.to_owned())
}

/// A remark for the report, which names the first ones; `None` if there are none. The log has all.
pub(super) fn note(migrations: &[String]) -> Option<String> {
    const NAMED: usize = 3;
    let (named, more) = migrations.split_at(migrations.len().min(NAMED));
    let more = match more.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    (!named.is_empty()).then(|| format!("migrations stay applied: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_applied_counts() {
        let log = "Operations to perform:\n  Apply all migrations: items\nRunning migrations:\n  Applying items.0001_initial... OK\n  Applying items.0002_x... FAKED\n  Applying items.0003_y...Traceback (most recent call last):\nApplying pressure... gently\n";
        assert_eq!(applied(log), ["items.0001_initial", "items.0002_x"]);
        assert_eq!(
            note(&applied(log)).as_deref(),
            Some("migrations stay applied: items.0001_initial, items.0002_x")
        );
        let many: Vec<String> = (1..=200).map(|n| format!("items.{n:04}")).collect();
        assert_eq!(
            note(&many).as_deref(),
            Some("migrations stay applied: items.0001, items.0002, items.0003 and 197 more")
        );
        assert_eq!(unfinished(log).as_deref(), Some("items.0003_y"));
        let cut = "\n  Applying items.0001_initial... OK\n  Applying items.0002_x...";
        assert_eq!(unfinished(cut).as_deref(), Some("items.0002_x"));
        assert_eq!(unfinished(&format!("{cut} OK\n")), None);
        assert_eq!(note(&applied("No migrations to apply.\n")), None);
    }
}

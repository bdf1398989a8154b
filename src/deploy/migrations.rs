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

/// A remark for the report; `None` if there are none.
pub(super) fn note(migrations: &[String]) -> Option<String> {
    (!migrations.is_empty()).then(|| format!("migrations stay applied: {}", migrations.join(", ")))
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
        assert_eq!(note(&applied("No migrations to apply.\n")), None);
    }
}

//! The options of a line, and the dates of commits.

use super::*;

/// The options of a line, for a commit of 2023-11-14 at 22:13:20 UTC.
pub(super) fn conditions(table: &mut Table) -> Result<()> {
    let key = table.repo.key("ann", "ed25519", "256")?;
    let payload = table.repo.payload()?;
    let signature = table.repo.sign("ann", &["-n", "git"], &payload)?;
    let commit = table.repo.armoured(&signature)?;
    for options in [
        "valid-before=\"20231114221320Z\"",
        "valid-after=\"20231114221320Z\"",
        "valid-after=\"20231114Z\",valid-before=\"20231115Z\"",
        "valid-after=\"202311142213Z\"",
        "VALID-AFTER=\"20230101\"",
        "namespaces=\"git\"",
        "namespaces=\"file,git\"",
        "namespaces=\"g?t\"",
        "NAMESPACES=\"*\"",
        "namespaces=\"git\",valid-before=\"20300101\"",
    ] {
        let list = format!("ann@x {options} {key}");
        assert!(table.commit(options, commit, &list)?, "{options}");
    }
    for options in [
        "valid-before=\"20231114221319Z\"",
        "valid-after=\"20231114221321Z\"",
        "valid-after=\"20240101Z\"",
        "valid-before=20220101",
        "valid-after=\"20230101\",valid-before=\"20230201\"",
        "valid-after=\"20240101\",valid-before=\"20230101\"",
        "valid-after=\"20230101\",valid-after=\"20230102\"",
        "valid-after=\"2023\"",
        "valid-after=\"20231301\"",
        "valid-after=20230101",
        "valid-after=\"\"",
        "valid-after=",
        "namespaces=\"file\"",
        "namespaces=\"\"",
        "namespaces=\"*,!git\"",
        "namespaces=\"git\",namespaces=\"git\"",
        "namespaces=\"git",
        "namespaces=git",
        "no-pty",
        "restrict,cert-authority",
        "namespaces=\"git\",",
    ] {
        let list = format!("ann@x {options} {key}");
        assert!(!table.commit(options, commit, &list)?, "{options}");
    }
    // In local time, so the verdict depends on the time zone.
    for hour in ["06", "12", "16", "19", "22", "23"] {
        for option in ["valid-before", "valid-after"] {
            for day in ["14", "15"] {
                let options = format!("{option}=\"202311{day}{hour}1320\"");
                table.commit(&options, commit, &format!("ann@x {options} {key}"))?;
            }
        }
    }
    for (options, words) in [
        (
            "valid-before=\"20231114221319Z\"",
            "which the list of allowed signers does not permit: line 1: key has expired: ",
        ),
        (
            "valid-after=\"20231114221321Z\"",
            ": line 1: key is not yet valid: ",
        ),
        (
            "namespaces=\"file\"",
            ": line 1: key is not permitted for use in signature namespace \"git\"",
        ),
    ] {
        let list = format!("ann {options} {key}");
        refused(&table.repo.verified(commit, &list)?, words);
    }
    Ok(())
}

pub(super) fn dates(table: &mut Table) -> Result<()> {
    let key = table.repo.key("dated", "ed25519", "256")?;
    let list = format!("ann@x {key}");
    let since_2001 = format!("ann@x valid-after=\"20010101Z\" {key}");
    let until_2100 = format!("ann@x valid-before=\"21000101Z\" {key}");
    let (head, message) = table.repo.parts()?;
    for (case, date) in [
        ("dated 1970", " 0 +0000"),
        ("dated a day later", " 86400 +0000"),
        ("dated before 1970", " -5 +0000"),
        ("dated 2100", " 4102444801 +0000"),
        ("dated 9999", " 253402200000 +0000"),
        ("dated 10000", " 253402400000 +0000"),
        ("dated beyond all", " 99999999999999999999 +0000"),
        ("dated in words", " yesterday"),
        ("dated within an hour that comes twice", " 1699162200 +0000"),
        ("dated in an odd time zone", " 1700000000 +9959"),
        ("dated in no time zone", " 1700000000"),
        ("without a date", ""),
    ] {
        // Only the committer's date counts.
        let (author, committer) = head.rsplit_once("committer ").context("no committer")?;
        let head = format!(
            "{author}committer {}",
            committer.replace(" 1700000000 +0000", date)
        );
        let payload = format!("{head}\n\n{message}");
        let signature = table.repo.sign("dated", &["-n", "git"], &payload)?;
        let commit = table.repo.object_of(&head, &message, &signature)?;
        for list in [&list, &since_2001, &until_2100] {
            table.commit(case, commit, list)?;
        }
    }
    Ok(())
}

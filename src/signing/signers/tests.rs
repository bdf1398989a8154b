//! The format, line by line.

use super::*;
use chrono::TimeZone;

const ANN: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
const GIT: &str = "git";

fn ann() -> KeyData {
    key(ANN).unwrap()
}
fn bob() -> KeyData {
    KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([7; 32]))
}
/// Noon of the 23rd, at a server that is two hours ahead of UTC.
fn noon() -> DateTime<FixedOffset> {
    FixedOffset::east_opt(7200)
        .and_then(|zone| zone.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).single())
        .unwrap()
}
fn who(list: &str) -> Result<String, String> {
    Signers::parse(list)?
        .who(&ann(), GIT, noon())
        .map(str::to_owned)
}

#[test]
fn lines_are_read_as_ssh_keygen_reads_them() {
    for line in [
        format!("ann@example.org {ANN}"),
        format!("# a comment\n\n   ann@example.org\t{ANN} ann's laptop\r\n"),
        format!("ann@example.org  namespaces=\"git,file\" {ANN}"),
        format!("ann@example.org NAMESPACES=\"g?t\" {ANN}"),
        format!("ann@example.org namespaces=git,valid-after=20200101 {ANN}"),
        format!("ann@example.org valid-after=\"20261123\",valid-before=\"203001010000Z\" {ANN}"),
        format!("\"ann@example.org\" {}", ANN.replace(' ', "  \t")),
        format!("bob cert-authority {ANN}\nann@example.org {ANN}"),
        format!("bob valid-before=20200101 {ANN}\nann@example.org {ANN}"),
    ] {
        assert_eq!(who(&line).as_deref(), Ok("ann@example.org"), "{line}");
    }
    let several = who(&format!("\"ann smith\",*@example.org {ANN}"));
    assert_eq!(several.as_deref(), Ok("ann smith\",*@example.org"));
}

#[test]
fn a_key_counts_where_and_when_it_is_said() {
    for (options, words) in [
        (
            "namespaces=\"file\"",
            "may sign for \"file\" and not for \"git\"",
        ),
        ("namespaces=\"*,!git\"", "and not for \"git\""),
        ("valid-after=20261124", "is valid only from 20261124 on"),
        ("valid-before=20261123", "was valid only until 20261123"),
        // Noon here is ten o'clock in Greenwich.
        (
            "valid-after=202611231001Z",
            "is valid only from 202611231001Z on",
        ),
        (
            "valid-before=20261123095959Z",
            "was valid only until 20261123095959Z",
        ),
        (
            "valid-before=202611231159",
            "was valid only until 202611231159",
        ),
    ] {
        let result = who(&format!("ann {options} {ANN}"));
        assert!(
            result
                .as_ref()
                .is_err_and(|why| why.contains(words) && why.contains("the key of ann")),
            "{options}: {result:?}"
        );
    }
    for options in [
        "valid-after=202611231000Z",
        "valid-before=20261123100000Z",
        "valid-after=202611231200",
        "valid-before=20261123120000",
        "valid-after=20261123,valid-before=20261124",
    ] {
        assert_eq!(
            who(&format!("ann {options} {ANN}")).as_deref(),
            Ok("ann"),
            "{options}"
        );
    }
    let list = Signers::parse(&format!("ann {ANN}\nca cert-authority {ANN}")).unwrap();
    assert_eq!(list.authorities(), 1);
    assert_eq!(
        list.who(&bob(), GIT, noon()),
        Err("its key is not in the list".into())
    );
    assert!(list.lists(&ann()) && !list.lists(&bob()));
}

#[test]
fn what_cannot_be_read_refuses_the_list() {
    for (line, words) in [
        (String::new(), "it is empty"),
        ("# nobody\n \n".into(), "it is empty"),
        (
            format!("ca cert-authority {ANN}"),
            "certificate authorities only",
        ),
        (format!("ann {ANN}\nbob"), "line 2: it has no key"),
        (format!("ann {ANN}\n\n{ANN}"), "line 3: "),
        ("ann ssh-ed25519".into(), "line 1: it has no key"),
        (
            "ann ssh-ed25519 AAAA".into(),
            "line 1: its key cannot be read",
        ),
        (format!("ann namespaces=\"git {ANN}"), "no partner"),
        (format!("ann namespaces= {ANN}"), "is no option of a signer"),
        (
            format!("ann touch-required {ANN}"),
            "\"touch-required\" is no option",
        ),
        (
            format!("ann valid-after=2026 {ANN}"),
            "\"2026\" is not a time",
        ),
        (format!("ann valid-after=20261301 {ANN}"), "is not a time"),
        (format!("ann valid-after=+2026113 {ANN}"), "is not a time"),
        (format!("ann valid-after=2026112324 {ANN}"), "is not a time"),
        (
            format!("ann valid-after=20260101,valid-after=20270101 {ANN}"),
            "given twice",
        ),
        (
            format!("ann valid-after=20270101,valid-before=20260101 {ANN}"),
            "is not after",
        ),
    ] {
        let result = Signers::parse(&line).err();
        assert!(
            result.as_ref().is_some_and(|why| why.contains(words)),
            "{line:?}: {result:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_odd(text in "\\PC{0,60}", options in "[a-z=\",0-9Z-]{0,30}") {
        let _ = Signers::parse(&text);
        let _ = Signers::parse(&format!("ann {options} {ANN}"));
    }
}

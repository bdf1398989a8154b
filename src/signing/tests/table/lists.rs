//! Lines of a list, and the form of signatures and tags.

use super::*;

pub(super) fn lines(table: &mut Table) -> Result<()> {
    let key = table.repo.key("bob", "ed25519", "256")?;
    let stranger = table.repo.key("eve", "ecdsa", "256")?;
    let payload = table.repo.payload()?;
    let signature = table.repo.sign("bob", &["-n", "git"], &payload)?;
    let commit = table.repo.armoured(&signature)?;
    let (kind, base64) = key.split_once(' ').context("no key")?;
    table.lists(
        true,
        commit,
        &[
            ("no line end", format!("bob@x {key}")),
            (
                "comments",
                format!("# us\n\n  # we\nbob@x {key} his laptop\n"),
            ),
            ("CRLF", format!("# us\r\n\r\nbob@x {key}\r\n")),
            ("tabs", format!("\tbob@x\t{kind}\t{base64}\t\n")),
            ("spaces", format!("   bob@x   {kind}   {base64}\n")),
            ("quotes", format!("\"bob@x\" {key}\n")),
            ("quoted spaces", format!("\"bob the builder\" {key}\n")),
            ("principals", format!("ann@x,bob@x {key}\n")),
            ("pattern", format!("*@x {key}\n")),
            ("negated", format!("*,!eve@x {key}\n")),
            ("twice", format!("bob@x {key}\nbob@x {key}\n")),
            ("another before", format!("eve@x {stranger}\nbob@x {key}\n")),
            ("same principal", format!("bob@x {stranger}\nbob@x {key}\n")),
            ("no key before", format!("eve@x\nbob@x {key}\n")),
            ("no key after", format!("bob@x {key}\neve@x\n")),
            (
                "invalid key before",
                format!("eve@x ssh-ed25519 AAAA\nbob@x {key}\n"),
            ),
            (
                "unknown kind before",
                format!("eve@x ssh-new AAAA\nbob@x {key}\n"),
            ),
            (
                "invalid option before",
                format!("bob@x no-pty {key}\nbob@x {key}\n"),
            ),
            (
                "expired before",
                format!("bob@x valid-before=\"20200101\" {key}\nbob@x {key}\n"),
            ),
            ("open quote before", format!("\"eve\nbob@x {key}\n")),
            ("dash", format!("-f {key}\n")),
            ("two dashes", format!("--help {key}\n")),
            ("shell", format!("$(id);`id`&id>x|'x {key}\n")),
            ("percent", format!("%s%n\\n {key}\n")),
            ("with", format!("\"bob with RSA key SHA256:x\" {key}\n")),
            ("Unicode", format!("bøb@x {key}\n")),
            ("escape", format!("bob\u{1b}[2J@x {key}\n")),
            ("long", format!("{}bob@x {key}\n", "ann@x,".repeat(2000))),
        ],
    )?;
    table.lists(
        false,
        commit,
        &[
            ("empty", String::new()),
            ("comments only", "# nobody\n\n".into()),
            ("others only", format!("eve@x {stranger}\n")),
            ("commented out", format!("#bob@x {key}\n")),
            ("no principal", format!("{key}\n")),
            ("no key", "bob@x\n".into()),
            ("no base64", format!("bob@x {kind}\n")),
            ("cut off", format!("bob@x {kind} {}\n", &base64[..40])),
            ("another kind", format!("bob@x ssh-rsa {base64}\n")),
            ("principal negated", format!("!bob@x {key}\n")),
            ("open quote", format!("\"bob@x {key}\n")),
            ("two lines", format!("bob@x\n{key}\n")),
            ("words before", format!("bob@x may sign {key}\n")),
        ],
    )?;
    // Here ssh-keygen's rules count, whatever they are.
    for (case, list) in [
        ("empty principal", format!("\"\" {key}\n")),
        ("empty first principal", format!(",bob@x {key}\n")),
        ("old line ends", format!("bob@x {key}\rbob@x {key}\r")),
        ("spaces between principals", format!("ann@x, bob@x {key}\n")),
        ("quote within", format!("bob\"@x\" {key}\n")),
        ("byte order mark", format!("\u{feff}bob@x {key}\n")),
        ("NUL", format!("bob@x\0 {key}\n")),
    ] {
        table.commit(case, commit, &list)?;
    }
    let verified = |list: String| table.repo.verified(commit, &list);
    assert_eq!(verified(format!("-f {key}"))?, trusted("-f"));
    assert_eq!(verified(format!("ann,bob {key}"))?, trusted("ann"));
    assert_eq!(verified(format!("!ann,bob {key}"))?, trusted("bob"));
    refused(
        &verified(format!("bob {kind} {}", &base64[..40]))?,
        "does not permit: line 1: ",
    );
    Ok(())
}

pub(super) fn signatures(table: &mut Table) -> Result<()> {
    let list = format!("ann@x {}", table.repo.key("carol", "ed25519", "256")?);
    let payload = table.repo.payload()?;
    let good = table.repo.sign("carol", &["-n", "git"], &payload)?;
    let sha256 = table
        .repo
        .sign("carol", &["-n", "git", "-O", "hashalg=sha256"], &payload)?;
    let file = table.repo.sign("carol", &["-n", "file"], &payload)?;
    let longer = table.repo.sign("carol", &["-n", "git2"], &payload)?;
    let (first, rest) = good.split_once('\n').context("one line")?;
    let (body, _) = rest.rsplit_once("-----END").context("no end")?;
    for (case, accepted, signature) in [
        ("SHA-512", Some(true), good.clone()),
        ("SHA-256", Some(true), sha256),
        ("another namespace", Some(false), file),
        ("a longer namespace", Some(false), longer),
        ("no footer", Some(false), format!("{first}\n{body}")),
        ("no header", Some(false), rest.to_owned()),
        ("text before", Some(false), format!("x\n{good}")),
        (
            "empty",
            Some(false),
            format!("{first}\n-----END SSH SIGNATURE-----"),
        ),
        (
            "no base64",
            Some(false),
            format!("{first}\n!!!!\n-----END SSH SIGNATURE-----"),
        ),
        (
            "cut off",
            Some(false),
            format!("{first}\n{}\n-----END SSH SIGNATURE-----", &body[..60]),
        ),
        ("more base64", Some(false), format!("{first}\nAAAA\n{rest}")),
        (
            "OpenPGP",
            Some(false),
            good.replace("SSH SIGNATURE", "PGP SIGNATURE"),
        ),
        (
            "X.509",
            Some(false),
            good.replace("SSH SIGNATURE", "SIGNED MESSAGE"),
        ),
        (
            "no kind",
            Some(false),
            good.replace("SSH SIGNATURE", "SIGNATURE"),
        ),
        ("text after", None, format!("{good}x\n")),
        ("twice", None, format!("{good}{good}")),
        ("CRLF", None, good.replace('\n', "\r\n")),
    ] {
        let commit = table.repo.armoured(&signature)?;
        let git = table.commit(case, commit, &list)?;
        assert_eq!(git, accepted.unwrap_or(git), "{case}");
    }
    let unsigned = table.repo.id("HEAD")?;
    assert!(!table.commit("not signed", unsigned, &list)?);
    let (head, message) = table.repo.parts()?;
    let folded = good.trim_end().replace('\n', "\n ");
    for (case, header) in [
        ("header of SHA-256", "gpgsig-sha256"),
        ("unknown header", "gpgsig2"),
        ("capital header", "GPGSIG"),
    ] {
        let text = format!("{head}\n{header} {folded}\n\n{message}");
        let commit = table.repo.object("commit", &text)?;
        assert!(!table.commit(case, commit, &list)?, "{case}");
    }
    for (case, text) in [
        (
            "two signatures",
            format!("{head}\ngpgsig {folded}\ngpgsig {folded}\n\n{message}"),
        ),
        (
            "both headers",
            format!("{head}\ngpgsig {folded}\ngpgsig-sha256 {folded}\n\n{message}"),
        ),
        (
            "in the message",
            format!("{head}\n\n{message}gpgsig {folded}\n"),
        ),
        (
            "header after it",
            format!("{head}\ngpgsig {folded}\nx y\n\n{message}"),
        ),
        (
            "an evil parent",
            format!("{head}\nparent {unsigned}\ngpgsig {folded}\n\n{message}"),
        ),
        ("an empty message", format!("{head}\ngpgsig {folded}\n\n")),
    ] {
        let commit = table.repo.object("commit", &text)?;
        table.commit(case, commit, &list)?;
    }
    Ok(())
}

pub(super) fn tags(table: &mut Table) -> Result<()> {
    let key = table.repo.key("tagger", "ed25519", "256")?;
    let stranger = table.repo.key("stranger-tagger", "ed25519", "256")?;
    let list = format!("ann@x {key}");
    table
        .repo
        .with_key("tagger", &["tag", "-s", "-m", "t", "v1"])?;
    let v1 = table.repo.id("v1")?;
    assert!(table.tag("tag", v1, "v1", &list)?);
    assert!(table.tag("renamed tag", v1, "v2", &list)?);
    for (case, list) in [
        ("tag by a stranger", format!("ann@x {stranger}")),
        (
            "tag by an expired key",
            format!("ann@x valid-before=\"20220101\" {key}"),
        ),
        (
            "tag by a key for files",
            format!("ann@x namespaces=\"file\" {key}"),
        ),
        ("tag and no list", String::new()),
    ] {
        assert!(!table.tag(case, v1, "v1", &list)?, "{case}");
    }
    table
        .repo
        .with_key("tagger", &["tag", "-s", "-m", "t", "v3", "v1"])?;
    let v3 = table.repo.id("v3")?;
    assert!(table.tag("tag of a tag", v3, "v3", &list)?);
    let text = table
        .repo
        .run("git", &["-C", "work", "cat-file", "tag", "v1"], "")?;
    let (body, signature) = text.split_once("-----BEGIN").context("not signed")?;
    let signature = format!("-----BEGIN{signature}");
    let tagger = body
        .lines()
        .find(|line| line.starts_with("tagger"))
        .context("no tagger")?;
    for (case, text) in [
        ("altered tag", text.replace("\n\nt\n", "\n\nevil\n")),
        ("tag with another name", text.replace("tag v1", "tag v9")),
        ("tag with text after it", format!("{text}x\n")),
        ("tag with a second signature", format!("{text}{signature}")),
        ("tag with text between", format!("{body}x\n{signature}")),
        (
            "tag without its tagger",
            text.replace(&format!("{tagger}\n"), ""),
        ),
    ] {
        let tag = table.repo.object("tag", &text)?;
        let name = if text.contains("tag v9") { "v9" } else { "v1" };
        table.tag(case, tag, name, &list)?;
    }
    for (case, body) in [
        (
            "tag that never had a tagger",
            body.replace(&format!("{tagger}\n"), ""),
        ),
        (
            "tag with a signature in its message",
            format!("{body}{signature}\nmore\n"),
        ),
    ] {
        let signature = table.repo.sign("tagger", &["-n", "git"], &body)?;
        let tag = table.repo.object("tag", &format!("{body}{signature}"))?;
        table.tag(case, tag, "v1", &list)?;
    }
    Ok(())
}

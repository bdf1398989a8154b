//! Tests of repository addresses.

use super::*;

fn parts(text: &str) -> Result<(String, String, u16, String), Invalid> {
    let url: RepoUrl = text.parse()?;
    Ok((
        url.user.clone(),
        url.host.clone(),
        url.port(),
        url.path.clone(),
    ))
}
fn some(
    user: &str,
    host: &str,
    port: u16,
    path: &str,
) -> Result<(String, String, u16, String), Invalid> {
    Ok((user.into(), host.into(), port, path.into()))
}

#[test]
fn parses_both_ssh_forms() {
    assert_eq!(
        parts("git@github.com:acme/todo.git"),
        some("git", "github.com", 22, "acme/todo.git")
    );
    assert_eq!(
        parts("GitHub.com:acme/todo"),
        some("git", "github.com", 22, "acme/todo")
    );
    assert_eq!(
        parts("ssh://me@h:2222/srv/t.git"),
        some("me", "h", 2222, "/srv/t.git")
    );
    assert_eq!(
        parts("ssh://h/~me/t.git"),
        some("git", "h", 22, "~me/t.git")
    );
}

#[test]
fn an_https_address_is_refused_with_its_ssh_form_as_hint() {
    let error = "https://github.com/acme/todo".parse::<RepoUrl>().err();
    assert_eq!(
        error.and_then(|e| e.hint),
        Some("write git@github.com:acme/todo.git".into())
    );
    // The message must not repeat a token pasted with the address.
    let error = "https://user:secret@github.com/acme/todo.git"
        .parse::<RepoUrl>()
        .err();
    assert!(error.is_some_and(|e| !e.to_string().contains("secret")));
}

#[test]
fn refuses_option_injection_and_malformed_addresses() {
    for bad in [
        "",
        "github.com",
        "/srv/todo.git",
        "git@-oProxyCommand=x:acme/todo",
        "-oProxyCommand=x@h:p",
        "git@h:-x",
        "git@h:",
        "ssh://h",
        "ssh://h:0/x",
        "ssh://h:x/y",
        "git@h:a\tb",
        "git@h:a\u{202e}b",
        "ssh://h/a%0Ab",
        "ssh://h/a%27b",
        "ssh://h/%2e%2e/x",
        "ssh://h/a%ff",
        "git@[::1:x",
        "git@[h]x:y",
        "ssh://[::1]x/y",
        "ssh://[-oProxyCommand=x]/y",
        "git@h:a'b",
        "git@h:../x",
        "a/b:c",
        "git@h:$(x)",
    ] {
        assert!(bad.parse::<RepoUrl>().is_err(), "{bad:?} should be refused");
    }
}

#[test]
fn derives_the_name_from_the_repository() {
    let name = |text: &str| {
        text.parse::<RepoUrl>()
            .ok()
            .and_then(|u| u.suggested_name())
            .map(|n| n.to_string())
    };
    assert_eq!(
        name("git@github.com:acme/Todo.Django.git").as_deref(),
        Some("todo_django")
    );
    assert_eq!(name("git@github.com:acme/2do.git").as_deref(), Some("do"));
    assert_eq!(name("git@h:123").as_deref(), None);
}

#[test]
fn parses_every_form_that_git_knows() {
    for (text, expected) in [
        (
            "git@[2001:db8::1]:acme/x.git",
            ("git", "2001:db8::1", 22, "acme/x.git"),
        ),
        ("[::1]:x", ("git", "::1", 22, "x")),
        (
            "ssh://git@[2001:DB8::1]:2222/srv/x.git",
            ("git", "2001:db8::1", 2222, "/srv/x.git"),
        ),
        ("ssh://[::1]/x", ("git", "::1", 22, "/x")),
        ("[me@h:2222]:x", ("me", "h", 2222, "x")),
        ("git+ssh://git@h/a/b.git", ("git", "h", 22, "/a/b.git")),
        ("ssh+git://h/a", ("git", "h", 22, "/a")),
        ("ssh://h/~/x", ("git", "h", 22, "~/x")),
        ("ssh://h:/x", ("git", "h", 22, "/x")),
        ("git clone git@h:a/b.git", ("git", "h", 22, "a/b.git")),
        ("git@h:a/b/", ("git", "h", 22, "a/b")),
        (
            "git@h:Meine Sachen/größe.git",
            ("git", "h", 22, "Meine Sachen/größe.git"),
        ),
        // git decodes the path of a URL, and hands on that of the short form.
        (
            "ssh://h/My%20Code/gr%C3%B6%C3%9Fe.git",
            ("git", "h", 22, "/My Code/größe.git"),
        ),
        ("git@h:My%20Code/x", ("git", "h", 22, "My%20Code/x")),
        (
            "git@ssh.dev.azure.com:v3/acme/My%20Code/todo",
            ("git", "ssh.dev.azure.com", 22, "v3/acme/My%20Code/todo"),
        ),
        ("work:acme/todo.git", ("git", "work", 22, "acme/todo.git")),
    ] {
        let (user, host, port, path) = expected;
        assert_eq!(parts(text), some(user, host, port, path), "{text}");
    }
    let url: RepoUrl = "ssh://git@[::1]:2222/x".parse().unwrap();
    assert_eq!(url.known_hosts_name(), "[::1]:2222");
}

/// Whether the address is refused with the hint to write this form, which is accepted then.
fn is_answered(text: &str, form: &str) {
    let hint = text.parse::<RepoUrl>().err().and_then(|error| error.hint);
    assert_eq!(hint, Some(format!("write {form}")), "{text}");
    let form = form.split([';', ',', '(']).next().unwrap_or_default();
    assert!(form.trim().parse::<RepoUrl>().is_ok(), "{form}");
}

#[test]
fn web_pages_are_refused_with_the_form_to_write() {
    for (page, repo) in [
        ("github.com/acme/todo/tree/main", "github.com:acme/todo"),
        (
            "github.com/acme/todo/tree/feature/x?tab=readme#top",
            "github.com:acme/todo",
        ),
        (
            "www.github.com/acme/todo/pull/7/files",
            "github.com:acme/todo",
        ),
        (
            "gitlab.com/acme/web/todo/-/tree/main",
            "gitlab.com:acme/web/todo",
        ),
        (
            "git.corp/acme/web/todo/blob/main/x.py",
            "git.corp:acme/web/todo",
        ),
        (
            "bitbucket.org/acme/todo/src/main/",
            "bitbucket.org:acme/todo",
        ),
        ("git.corp/acme/todo/src/branch/main", "git.corp:acme/todo"),
        (
            "codeberg.org/acme/todo/src/branch/main",
            "codeberg.org:acme/todo",
        ),
    ] {
        let form = format!("git@{repo}.git; the branch is an answer of its own");
        is_answered(&format!("https://{page}"), &form);
        is_answered(page, &form);
    }
    for (page, repo) in [
        ("projects/WEB/repos/todo/browse", "web/todo"),
        ("scm/web/todo.git", "web/todo"),
        ("users/ann/repos/todo", "~ann/todo"),
    ] {
        let form = format!("ssh://git@git.corp:7999/{repo}.git (or the port of its ssh server)");
        is_answered(&format!("https://git.corp/{page}"), &form);
    }
    for (page, repo) in [
        (
            "dev.azure.com/acme/My%20Code/_git/todo?version=GBmain",
            "My%20Code/todo",
        ),
        (
            "acme@dev.azure.com/acme/My%20Code/_git/todo",
            "My%20Code/todo",
        ),
        ("dev.azure.com/acme/_git/todo", "todo/todo"),
        (
            "acme.visualstudio.com/My%20Code/_git/todo",
            "My%20Code/todo",
        ),
        (
            "acme.visualstudio.com/DefaultCollection/_git/todo",
            "todo/todo",
        ),
    ] {
        let form = format!("git@ssh.dev.azure.com:v3/acme/{repo}");
        is_answered(&format!("https://{page}"), &form);
    }
}

#[test]
fn near_misses_are_refused_with_the_form_to_write() {
    for (text, form) in [
        ("github.com/acme/todo", "git@github.com:acme/todo.git"),
        (
            "git@github.com/acme/todo.git",
            "git@github.com:acme/todo.git",
        ),
        (
            "ssh://git@github.com:acme/todo.git",
            "git@github.com:acme/todo.git, without ssh://",
        ),
        (
            "git@ssh.dev.azure.com:acme/web/_git/todo",
            "git@ssh.dev.azure.com:v3/ORGANISATION/PROJECT/REPOSITORY",
        ),
        (
            "https://tfs.corp/tfs/Main/Web/_git/todo",
            "ssh://git@tfs.corp/tfs/Main/Web/_git/todo",
        ),
        (
            "git+https://git.corp/acme/My%20todo.git",
            "git@git.corp:acme/My todo.git",
        ),
        ("https://git.corp/acme/a@b", "git@git.corp:acme/a@b.git"),
    ] {
        is_answered(text, form);
    }
    for host in ["git.corp", "[::1]"] {
        let form = format!(
            "git@{host}:acme/todo.git, or with the port of its ssh server: ssh://git@{host}:PORT/acme/todo.git"
        );
        is_answered(&format!("http://{host}:3000/acme/todo"), &form);
    }
    for (text, hint) in [
        ("git@2001:db8::1:x", "brackets"),
        ("/srv/todo.git", "for example"),
    ] {
        let hints = text.parse::<RepoUrl>().err().and_then(|error| error.hint);
        assert!(hints.is_some_and(|hints| hints.contains(hint)), "{text}");
    }
    let error = "ssh://git:secret@h/x".parse::<RepoUrl>().err();
    assert!(error.is_some_and(|e| !e.to_string().contains("secret")));
}

#[test]
fn knows_the_hosts_that_accept_rsa_keys_only_and_names_that_may_be_aliases() {
    for (text, rsa, alias) in [
        ("git@ssh.dev.azure.com:v3/acme/web/todo", true, false),
        ("acme@vs-ssh.visualstudio.com:v3/acme/web/todo", true, false),
        ("ssh://git@tfs.corp/tfs/Main/Web/_git/todo", true, false),
        (
            "ssh://ID@git-codecommit.eu-west-1.amazonaws.com/v1/repos/x",
            true,
            false,
        ),
        ("git@github.com:acme/todo.git", false, false),
        ("work:acme/todo.git", false, true),
        ("git@[::1]:x", false, false),
    ] {
        let url = text.parse::<RepoUrl>().unwrap();
        assert_eq!(
            (url.needs_rsa_key(), url.may_be_alias()),
            (rsa, alias),
            "{text}"
        );
    }
}

//! Text written by others reaches root's terminal escaped: names in the repository, and whatever the account writes
//! into its ledger.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Output, Release, Todo};

/// A file name that sets the title and colours and reverses the text direction; it contains no slash.
const NAME: &str = r"$'\e[31m\e]0;x\a\u009b2J\u202e\x7f\rname'";

fn assert_escaped(output: &Output) -> Result<()> {
    for text in [&output.stdout, &output.stderr] {
        let raw = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        ensure!(!text.contains(raw), "{text:?}");
    }
    Ok(())
}

#[test]
fn foreign_text_reaches_the_terminal_escaped() -> Result<()> {
    let lab = Lab::new("escapes")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;

    // A poll reports the path of a new submodule, and the subject of every commit.
    repo.run(&format!(
        "export LC_ALL=C.UTF-8; git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub{NAME}; \
         git commit -qm {NAME}; git push -q"
    ))?;
    let output = web.run("pullpray poll todo --verbose")?.ok()?;
    output.says("submodules are not fetched; sub^[[31m")?;
    assert_escaped(&output)?;
    // A poll reports the name of a database that the build creates, and the build's output.
    repo.run(&format!(
        "export LC_ALL=C.UTF-8; printf %s {NAME} >title; \
         printf '%s\\n' 'import sqlite3' 'title = open(\"title\").read()' 'print(title)' \
         'db = sqlite3.connect(title + \".db\")' 'db.execute(\"create table if not exists t (x)\")' >>todo/settings.py; \
         git add -A . ':!sub*'; git commit -qm next; git push -q"
    ))?;
    let output = web.run("pullpray poll todo --verbose")?.exits(1)?;
    output.says("created the database ^[[31m")?;
    assert_escaped(&output)?;

    let escapes = web.python_as("root", "escapes.py", &[])?;
    ensure!(
        escapes.status == 0,
        "printed unescaped\n{escapes}",
        escapes = *escapes
    );

    repo.run("git checkout -q HEAD~1 -- todo/settings.py; git rm -q --cached title")?;
    repo.push("version two")?;
    web.run("pullpray resume todo")?.ok()?;
    web.run("pullpray poll todo --now")?.ok()?;
    ensure!(web.page("/")?.shows("version two"));
    Ok(())
}

/// nginx can read more than the account: links among static files must not expose that.
#[test]
fn links_among_static_files_expose_no_other_files() -> Result<()> {
    let lab = Lab::new("links")?;
    let Todo {
        host: _host,
        repo,
        web,
    } = Todo::live(&lab, Release::Bookworm)?;
    web.run("install -o www-data -m 600 /dev/stdin /var/www/secret <<<secret")?
        .ok()?;
    web.run(
        "echo 'mkdir -p \"$STATIC_ROOT/css\"; echo body >\"$STATIC_ROOT/css/a.css\"; \
         ln -s /var/www/secret \"$STATIC_ROOT/secret\"; ln -s a.css \"$STATIC_ROOT/css/b.css\"' >>/opt/git_pollers/todo/deploy.sh",
    )?
    .ok()?;
    repo.push("version two")?;
    let output = web.run("pullpray poll todo")?.ok()?;
    output
        .says("live after")?
        .says("links are not published: css/b.css, secret")?;
    ensure!(web.page("/")?.shows("version two"));
    ensure!(web.page("/static/css/a.css")?.shows("body"));
    ensure!(web.page("/static/css/b.css")?.status == 404);
    ensure!(web.page("/static/secret")?.status == 404);
    web.run("pullpray status todo --history")?
        .ok()?
        .says("links are not published")?;

    // The account can create links without a poll; nginx must refuse those.
    web.run_as("gunicorn", "cd /www/static/todo && ln -s /var/www/secret planted && ln -s css/a.css own && ln -s /var/www dir")?
        .ok()?;
    ensure!(web.page("/static/own")?.shows("body"));
    for path in ["planted", "dir/secret"] {
        let page = web.page(&format!("/static/{path}"))?;
        ensure!(page.status == 403, "{path}: {page:?}");
    }
    // Links above the directory belong to the administrator and are followed.
    web.run("mv /www /www.disk && ln -s /www.disk /www")?.ok()?;
    ensure!(web.page("/static/css/a.css")?.shows("body"));
    repo.push("version three")?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("version three"));
    Ok(())
}

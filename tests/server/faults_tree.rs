//! Repositories with unusual content.

use anyhow::{Result, ensure};

use crate::faults::{deploys, fails, poll_is_silent, push_and_deploy};
use crate::lab::{Lab, Release, Todo};

#[test]
fn odd_names_links_and_sizes_are_deployed_unchanged() -> Result<()> {
    let lab = Lab::new("names")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    let long = "x".repeat(255);
    repo.run(&format!(
        "mkdir odd && cd odd && printf 1 >$'latin-\\xe9' && printf 2 >$'two\\nlines' && printf 3 >-rf && printf 4 >'🌱 \"quoted\" $(date)' && printf 5 >{long} \
         && ln -s /etc/passwd absolute && ln -s ../../../../../../../etc/passwd relative && ln -s nowhere dangling && ln -s . loop \
         && cd ../items/static/items && printf 6 >$'caf\\xe9.css' && printf 7 >{long} && printf 8 >$'a\\nb.css'"
    ))?;
    repo.run(
        "head -c 90M /dev/zero >large && git add -A && git commit -qm 'Odd names' && git push -q",
    )?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Odd names\" live after")?;
    let odd = "cd /var/www/projects/todo/current/odd";
    web.run(&format!(
        "{odd} && cat $'latin-\\xe9' $'two\\nlines' ./-rf '🌱 \"quoted\" $(date)' {long} && ls -A | wc -l && readlink absolute relative dangling loop && stat -c %s ../large"
    ))?
    .ok()?
    .says("12345")?
    .says("\n/etc/passwd\n../../../../../../../etc/passwd\nnowhere\n.\n94371840\n")?;
    web.run(&format!(
        "cd /www/static/todo/items && cat $'caf\\xe9.css' {long} $'a\\nb.css'"
    ))?
    .ok()?
    .says("678")?;
    web.run("stat -c '%U %a' /etc/passwd")?
        .ok()?
        .says("root 644")?;

    // A file becomes a directory, and a directory becomes a link.
    repo.run("git rm -q large && mkdir large && touch large/x && git rm -rq odd && ln -s /etc odd && git add -A && git commit -qm 'Turn round' && git push -q")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Turn round\" live after")?;
    push_and_deploy(&web, &repo, "version two")?;
    push_and_deploy(&web, &repo, "version three")?;
    web.run("pullpray doctor todo --strict --offline")?.ok()?;
    poll_is_silent(&web)
}

/// Shell commands that push a commit with one more tree entry, of a kind that `git add` refuses.
fn with_entry(name: &str, mode: &str, object: &str) -> String {
    format!(
        "blob=$(printf '[core]\\n\\tfsmonitor = touch /tmp/owned\\n' | git hash-object -w --stdin); \
         dir=$(printf '100644 blob %s\\tconfig\\n' $blob | git mktree); \
         tree=$({{ git ls-tree HEAD; printf '{mode} %s\\t{name}\\n' \"{object}\"; }} | git mktree --missing); \
         git push -q --force origin $(git commit-tree -p HEAD -m 'Plant {name}' $tree):refs/heads/main"
    )
}

#[test]
fn a_planted_git_directory_is_refused_and_submodules_are_reported() -> Result<()> {
    let lab = Lab::new("planted")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    for (name, mode, object) in [
        (".git", "040000 tree", "$dir"),
        (".git", "100644 blob", "$blob"),
        (".GIT", "040000 tree", "$dir"),
        ("..", "040000 tree", "$dir"),
        ("git~1", "040000 tree", "$dir"),
    ] {
        repo.run(&with_entry(name, mode, object))?;
        fails(&web, "version one", "failed to check ")?.says(&format!("'{name}"))?;
        web.run("find /var/www/projects/todo /var/www/projects -maxdepth 3 -iname .git -o -name config; ls /tmp/owned 2>/dev/null; true")?
            .ok()?
            .silent()?;
    }
    repo.run("git push -q --force origin HEAD:main")?;
    poll_is_silent(&web)?;

    repo.run("git update-index --add --cacheinfo 160000,1234567890123456789012345678901234567890,vendor/lib && printf '[submodule \"lib\"]\\n\\tpath = vendor/lib\\n\\turl = https://example.com/lib.git\\n' >.gitmodules && git add .gitmodules && git commit -qm 'Add a submodule' && git push -q")?;
    web.run("pullpray poll todo")?
        .ok()?
        .says("\"Add a submodule\" live after")?
        .says("note  submodules are not fetched; vendor/lib is an empty directory")?;
    web.run("ls -A /var/www/projects/todo/current/vendor/lib")?
        .ok()?
        .silent()?;
    web.run("pullpray status todo --history")?
        .ok()?
        .says("submodules are not fetched")?;
    ensure!(web.page("/")?.shows("version one"));
    // Reported when a commit adds them, and not with each later commit.
    repo.push("version two")?;
    let output = deploys(&web, "version two")?;
    ensure!(!output.stdout.contains("submodules"), "{output}");
    Ok(())
}

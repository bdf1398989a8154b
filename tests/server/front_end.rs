//! A front end that npm builds, as the README says.

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Release, Todo};

const README: &str = include_str!("../../README.md");
const PACKAGE: &str = r#"{"name": "front", "version": "1.0.0", "private": true, "scripts": {"build": "node build.js"},
 "dependencies": {"tiny": "http://githost:8082/tiny-1.0.0.tgz"}}"#;
const LOCK: &str = r#"{"name": "front", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
 "": {"name": "front", "version": "1.0.0", "dependencies": {"tiny": "http://githost:8082/tiny-1.0.0.tgz"}},
 "node_modules/tiny": {"version": "1.0.0", "resolved": "http://githost:8082/tiny-1.0.0.tgz", "integrity": "@"}}}"#;
const BUILD: &str = "const fs = require('fs');\nfs.mkdirSync('items/static', { recursive: true });\n\
    fs.writeFileSync('items/static/front.js', `// ${require('tiny')()}, ${fs.readFileSync('VERSION')}`);\n";
/// A package as npm fetches it, served beside the repository; prints its digest.
const PUBLISH: &str = "set -e; mkdir -p /srv/npm/package; cd /srv/npm; echo '{\"name\": \"tiny\", \"version\": \"1.0.0\"}' >package/package.json; \
    echo 'module.exports = () => \"built by tiny\";' >package/index.js; tar czf tiny-1.0.0.tgz package; \
    systemd-run -q --unit=packages python3 -m http.server 8082 -d /srv/npm; \
    echo sha512-$(openssl dgst -sha512 -binary tiny-1.0.0.tgz | base64 -w0)";

#[test]
fn npm_builds_static_files_and_its_cache_outlives_releases() -> Result<()> {
    let lab = Lab::new("npm")?;
    let todo = Todo::with_services(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    todo.make_live()?;
    let digest = host.run(PUBLISH)?.ok()?.stdout;
    let lines = README
        .lines()
        .skip_while(|line| !line.starts_with("npm ci"));
    let recipe: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    ensure!(recipe.len() == 3, "{recipe:?}");
    let before = README
        .lines()
        .find_map(|line| line.split_once("before the line `# check"));
    ensure!(
        before
            .context("the README does not say where")?
            .0
            .contains("deploy.sh")
    );
    web.run(&format!(
        "sed -i '/^# check and collectstatic/i {}' /opt/git_pollers/todo/deploy.sh && grep -A3 '^npm ci' /opt/git_pollers/todo/deploy.sh",
        recipe.join("\\n")
    ))?
    .ok()?;
    repo.commit(
        "Have a front end",
        &[
            ("package.json", PACKAGE),
            ("package-lock.json", &LOCK.replace('@', digest.trim())),
            ("build.js", BUILD),
        ],
    )?;
    web.run_for(300, "pullpray poll todo")?
        .ok()?
        .says("live after")?;
    let built = |version: &str| -> Result<()> {
        let page = web.page("/static/front.js")?;
        ensure!(
            page.shows(&format!("// built by tiny, {version}")),
            "{page:?}"
        );
        Ok(())
    };
    built("version one")?;
    // The package is fetched once.
    host.run("systemctl stop packages")?.ok()?;
    repo.push("version two")?;
    web.run_for(300, "pullpray poll todo")?
        .ok()?
        .says("live after")?;
    built("version two")?;
    web.run(
        "! ls -d /var/www/projects/todo/current/node_modules && pullpray doctor todo --offline",
    )?
    .ok()?;
    Ok(())
}

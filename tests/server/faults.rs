//! Helpers for tests of faults.

use anyhow::{Result, ensure};

use crate::lab::{Access, GitHost, Lab, Output, Release, Repository, Todo, WebServer};

pub const POLL: &str = "pullpray poll todo --verbose";
pub const SCRIPT: &str = "/opt/git_pollers/todo/deploy.sh";

/// Polls while the git host is unreachable: reports `words`, exits with 3, and the page stays at `version`.
pub fn cannot_reach(web: &WebServer, version: &str, words: &str) -> Result<Output> {
    let output = web.run(POLL)?.exits(3)?;
    output.says(words)?.says(", since ")?;
    ensure!(web.page("/")?.shows(version), "{version} stays");
    Ok(output)
}

/// Polls a commit that fails to deploy: reports `words`, exits with 1, and the page stays at `version`.
pub fn fails(web: &WebServer, version: &str, words: &str) -> Result<Output> {
    let output = web.run("pullpray poll todo")?.exits(1)?;
    output.says(words)?.says("is still live")?;
    ensure!(web.page("/")?.shows(version), "{version} stays");
    Ok(output)
}

/// Polls and expects a deployment of the pushed version.
pub fn deploys(web: &WebServer, version: &str) -> Result<Output> {
    let output = web.run("pullpray poll todo")?.ok()?;
    output.says(&format!("\"{version}\" live after"))?;
    ensure!(web.page("/")?.shows(version));
    Ok(output)
}

/// Polls and expects nothing to deploy, recover or report.
pub fn poll_is_silent(web: &WebServer) -> Result<()> {
    web.run("pullpray poll todo")?.ok()?.silent()?;
    Ok(())
}

pub fn push_and_deploy(web: &WebServer, repo: &Repository, version: &str) -> Result<()> {
    repo.push(version)?;
    deploys(web, version).map(drop)
}

/// Sets up a second server that follows the same repository.
pub fn second_server(lab: &Lab, todo: &Todo) -> Result<WebServer> {
    let web = lab.web_server(Release::Bookworm)?;
    web.nginx_site("todo", "127.0.0.1:8000")?;
    follow(
        &todo.host,
        &todo.repo,
        &web,
        &todo.init("--schedule '0 0 1 1 *'")?,
    )?;
    Ok(web)
}

/// Runs init, adds the deploy key, and runs init again.
pub fn follow(host: &GitHost, repo: &Repository, web: &WebServer, init: &str) -> Result<()> {
    web.run(init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(init)?.ok()?;
    Ok(())
}

//! What the tests of faults have in common.

use anyhow::{Result, ensure};

use crate::lab::{Access, GitHost, Lab, Output, Release, Repository, Todo, WebServer};

pub const POLL: &str = "pullpray poll todo --verbose";
pub const SCRIPT: &str = "/opt/git_pollers/todo/deploy.sh";

/// A poll that could not ask: it says so, ends with 3, and visitors see what they saw.
pub fn cannot_reach(web: &WebServer, version: &str, words: &str) -> Result<Output> {
    let output = web.run(POLL)?.exits(3)?;
    output.says(words)?.says(", since ")?;
    ensure!(web.page("/")?.shows(version), "{version} stays");
    Ok(output)
}

/// A poll whose deployment failed: it says why, ends with 1, and visitors see what they saw.
pub fn fails(web: &WebServer, version: &str, words: &str) -> Result<Output> {
    let output = web.run("pullpray poll todo")?.exits(1)?;
    output.says(words)?.says("is still live")?;
    ensure!(web.page("/")?.shows(version), "{version} stays");
    Ok(output)
}

/// A poll that deploys what was pushed before.
pub fn deploys(web: &WebServer, version: &str) -> Result<Output> {
    let output = web.run("pullpray poll todo")?.ok()?;
    output.says(&format!("\"{version}\" live after"))?;
    ensure!(web.page("/")?.shows(version));
    Ok(output)
}

/// The poll after everything: nothing is left to be done, or to be put right.
pub fn poll_is_silent(web: &WebServer) -> Result<()> {
    web.run("pullpray poll todo")?.ok()?.silent()?;
    Ok(())
}

pub fn push_and_deploy(web: &WebServer, repo: &Repository, version: &str) -> Result<()> {
    repo.push(version)?;
    deploys(web, version).map(drop)
}

/// A second server that follows the same repository.
pub fn one_more(lab: &Lab, todo: &Todo) -> Result<WebServer> {
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

/// init, with the key made known in between.
pub fn follow(host: &GitHost, repo: &Repository, web: &WebServer, init: &str) -> Result<()> {
    web.run(init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(init)?.ok()?;
    Ok(())
}

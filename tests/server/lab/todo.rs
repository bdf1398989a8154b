//! The starting point of most tests: the todo application live on its own server.

use anyhow::Result;

use super::{Access, Disk, GitHost, Lab, READY, Release, Repository, SERVICES, WebServer};

/// A git host with the repository of `todo`, and a web server.
pub struct Todo {
    pub host: GitHost,
    pub repo: Repository,
    pub web: WebServer,
}

impl Todo {
    /// Boots both servers, creates the repository and configures nginx; pullpray has not run yet.
    pub fn before_init(lab: &Lab, release: Release) -> Result<Self> {
        let (host, web) = lab.git_host_and_web_server(release)?;
        let repo = host.repository("acme/todo")?;
        web.nginx_site("todo", "127.0.0.1:8000")?;
        Ok(Self { host, repo, web })
    }

    /// The same, on a web server with the packages of [`SERVICES`].
    pub fn with_services(lab: &Lab, release: Release) -> Result<Self> {
        Self::with_packages(lab, release, SERVICES)
    }

    /// The same, on a web server with these packages: `+nginx+redis-server`.
    pub fn with_packages(lab: &Lab, release: Release, packages: &str) -> Result<Self> {
        let (host, web) = lab.git_host_and_web_server_with(release, packages)?;
        let repo = host.repository("acme/todo")?;
        web.nginx_site("todo", "127.0.0.1:8000")?;
        Ok(Self { host, repo, web })
    }

    /// todo is live at "version one", set up by `pullpray init` with a read-only key. Its schedule is
    /// the first of January, so that only the test polls.
    pub fn live(lab: &Lab, release: Release) -> Result<Self> {
        Self::live_on(lab, release, Disk::Memory)
    }

    /// The same on another kind of disk, which overlays the files that init created.
    pub fn live_on(lab: &Lab, release: Release, disk: Disk<'_>) -> Result<Self> {
        let (host, web) = lab.git_host_and(|| lab.live_web_server(release, disk))?;
        let repo = host.repository(READY)?;
        host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
        Ok(Self { host, repo, web })
    }

    /// Makes todo live on servers booted in another way.
    pub fn make_live(&self) -> Result<()> {
        make_live(&self.host, &self.repo, &self.web)
    }

    /// The command line of an unattended init, with `more` appended.
    pub fn init(&self, more: &str) -> Result<String> {
        init(&self.host, &self.repo, more)
    }
}

/// Makes todo live on one of several servers of a git host. Uses two workers, since many servers share a
/// machine.
pub fn make_live(host: &GitHost, repo: &Repository, web: &WebServer) -> Result<()> {
    let init = init(host, repo, "--schedule '0 0 1 1 *' --workers 2")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    Ok(())
}

fn init(host: &GitHost, repo: &Repository, more: &str) -> Result<String> {
    Ok(format!(
        "pullpray init --app todo --repo {} --branch main --bind 127.0.0.1:8000 --health-path / \
         --health-host localhost --host-key {} --yes --wait 0 {more}",
        repo.url(),
        host.fingerprint()?,
    ))
}

//! A laboratory: a LAN with a git host and web servers, each a booted Debian.
//!
//! ```ignore
//! let lab = Lab::new("wizard")?;
//! let (host, web) = lab.git_host_and_web_server(Release::Bookworm)?;
//! let repo = host.repository("acme/todo")?;
//! let waiting = web.run("pullpray init --yes …")?.exits(3)?;
//! host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
//! ```
//!
//! Servers are removed when dropped, and when the test process dies.
//! `LAB_KEEP=1 cargo test …` keeps them running and prints how to open a shell.

mod created;
mod git_host;
mod layer;
mod place;
mod server;
mod terminal;
mod todo;
mod tool;
mod web_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};

use place::Place;

pub use created::differences;
pub use git_host::{Access, GitHost, Repository};
pub use server::{Disk, Server};
pub use terminal::{Terminal, key};
pub use todo::{Todo, make_live};
pub use tool::{Output, Unchecked};
pub use web_server::{Page, TOUCHED, WebServer};

/// The packages of what apps work with, in one image for all tests that need some: tests/run builds it.
pub const SERVICES: &str = "+celery+npm+postgresql+python3-psycopg2+python3-redis+python3-uvicorn+python3-websockets+redis-server";
const GIT_HOST_IP: &str = "10.77.0.1";

/// The repository that every git host contains from the start.
const READY: &str = "acme/todo";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Bookworm,
    Trixie,
}

impl Release {
    fn image(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// One LAN. Servers on it know each other by name: `githost`, `web`, then `web2`, `web3`.
pub struct Lab {
    name: String,
    lan: Lan,
    webs: AtomicUsize,
}

/// Shared by all servers of a laboratory, which keep it alive.
#[derive(Clone)]
struct Lan {
    id: String,
    _place: Arc<Place>,
}

impl Lab {
    /// `name` identifies the test in `fresh-server list`; its first letters are part of every id.
    pub fn new(name: &str) -> Result<Self> {
        let place = Arc::new(Place::take()?);
        let lan = Lan {
            id: unique_id(name),
            _place: place,
        };
        Ok(Self {
            name: name.to_owned(),
            lan,
            webs: AtomicUsize::new(0),
        })
    }

    /// Another LAN that uses the same place.
    fn sharing_place(other: &Self) -> Self {
        Self {
            name: other.name.clone(),
            lan: Lan {
                id: unique_id(&other.name),
                ..other.lan.clone()
            },
            webs: AtomicUsize::new(0),
        }
    }

    /// A git host: sshd with one deploy key per repository.
    ///
    /// Runs bookworm, because sshd 9.8 and later block a client for a while after a few refused logins.
    pub fn git_host(&self) -> Result<GitHost> {
        let image = layer::layer("githost", |name| {
            let server = self.boot("githost", GIT_HOST_IP, "bookworm", Disk::Memory)?;
            let host = GitHost::install(server).context("failed to make a git host")?;
            host.create_repository(READY)?;
            host.save(name)
        })?;
        let server = self.boot("githost", GIT_HOST_IP, &image, Disk::Memory)?;
        Ok(GitHost::from_image(server))
    }

    /// A server with cron, sudo, nginx and the pullpray under test in /usr/local/bin.
    pub fn web_server(&self, release: Release) -> Result<WebServer> {
        self.web_server_on(release, Disk::Memory)
    }

    /// The same on a disk that loses unsynced data in a power cut, or that can fill up.
    pub fn web_server_on(&self, release: Release, disk: Disk) -> Result<WebServer> {
        let server = self.boot_web(release.image(), disk)?;
        WebServer::install(server).context("failed to make a web server")
    }

    fn boot_web(&self, image: &str, disk: Disk<'_>) -> Result<Server> {
        let number = self.webs.fetch_add(1, Ordering::Relaxed) + 1;
        let hostname = if number == 1 {
            "web".to_owned()
        } else {
            format!("web{number}")
        };
        self.boot(&hostname, &format!("10.77.0.{}", 1 + number), image, disk)
    }

    /// A web server on which todo is live, with a deploy key that no git host accepts yet.
    fn live_web_server(&self, release: Release, disk: Disk<'_>) -> Result<WebServer> {
        let kind = format!("live-{}", release.image());
        let image = layer::layer(&kind, |name| {
            let todo = Todo::before_init(&Self::sharing_place(self), release)?;
            todo.make_live()?;
            todo.web.save(name)
        })?;
        Ok(WebServer::from_image(self.boot_web(&image, disk)?))
    }

    /// Boots both at the same time.
    pub fn git_host_and_web_server(&self, release: Release) -> Result<(GitHost, WebServer)> {
        self.git_host_and(|| self.web_server(release))
    }

    /// The same, with more Debian packages on the web server, such as [`SERVICES`]. The first caller builds the image, in a
    /// minute or two.
    pub fn git_host_and_web_server_with(
        &self,
        release: Release,
        packages: &str,
    ) -> Result<(GitHost, WebServer)> {
        self.git_host_and(|| {
            let image = format!("{}{packages}", release.image());
            WebServer::install(self.boot_web(&image, Disk::Memory)?)
        })
    }

    /// A server of another kind, with these Debian packages: `+squid`.
    pub fn server_with(&self, hostname: &str, packages: &str) -> Result<Server> {
        let image = format!("{}{packages}", Release::Bookworm.image());
        self.boot(hostname, "10.77.0.200", &image, Disk::Memory)
    }

    fn git_host_and(
        &self,
        web_server: impl FnOnce() -> Result<WebServer>,
    ) -> Result<(GitHost, WebServer)> {
        thread::scope(|scope| {
            let host = scope.spawn(|| self.git_host());
            let web = web_server();
            let host = host
                .join()
                .map_err(|_| anyhow!("the git host's thread panicked"))?;
            Ok((host?, web?))
        })
    }

    fn boot(&self, hostname: &str, ip: &str, image: &str, disk: Disk<'_>) -> Result<Server> {
        Server::boot(
            unique_id(&self.name),
            hostname,
            ip,
            image,
            disk,
            self.lan.clone(),
        )
    }
}

/// At most 12 characters, the limit of fresh-server and of network interface names; unique among
/// all running test processes.
fn unique_id(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let tail = format!("{}-{}", base36(std::process::id() as usize), base36(number));
    let head: String = name
        .chars()
        .filter(char::is_ascii_lowercase)
        .take(12 - tail.len())
        .collect();
    format!("{}{tail}", if head.is_empty() { "l" } else { &head })
}

fn base36(mut number: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    loop {
        digits.push(char::from(DIGITS[number % 36]));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

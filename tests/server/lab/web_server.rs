//! A web server with nginx and pullpray.

use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Server, Unchecked};

/// The directories in which init creates or changes files.
pub const TOUCHED: &[&str] = &[
    "/etc",
    "/opt",
    "/usr/local",
    "/var/www",
    "/www",
    "/var/lib/pullpray",
];

pub(super) const PULLPRAY: &str = env!("CARGO_BIN_EXE_pullpray");

/// `web` on the LAN.
pub struct WebServer {
    server: Server,
}

impl Deref for WebServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// nginx's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub body: String,
}

impl Page {
    /// Whether the status is 200 and the body contains this text.
    pub fn shows(&self, text: &str) -> bool {
        self.status == 200 && self.body.contains(text)
    }
}

impl WebServer {
    pub(super) fn install(server: Server) -> Result<Self> {
        server.copy(PULLPRAY, "/usr/local/bin/pullpray")?;
        Ok(Self::from_image(server))
    }

    /// From an image that contains pullpray already.
    pub(super) fn from_image(server: Server) -> Self {
        Self { server }
    }

    /// Runs a command that must not change any file, except for times.
    pub fn changes_nothing(&self, command: &str) -> Result<Unchecked> {
        let before = self.listing(TOUCHED)?;
        let out = self.run(command)?;
        let after = self.listing(TOUCHED)?;
        let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
        let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
        ensure!(
            before == after,
            "the command must not change files; new: {new:#?}, gone: {gone:#?}\n{}",
            *out
        );
        Ok(out)
    }

    /// Makes nginx serve `app` as `app.example`: static files from /www/static/app, and the rest from
    /// `bind` (127.0.0.1:8000, /run/x.sock). The first site also serves every other name.
    pub fn nginx_site(&self, app: &str, bind: &str) -> Result<()> {
        self.script("nginx-site", &[app, bind])?.ok()?;
        Ok(())
    }

    /// Requests a page through nginx, from the first site.
    pub fn page(&self, path: &str) -> Result<Page> {
        self.page_of("localhost", path)
    }

    /// Requests a page through nginx, from the site of this name: `notes.example`.
    pub fn page_of(&self, name: &str, path: &str) -> Result<Page> {
        let curl = "curl --silent --show-error --max-time 60 --write-out '\\n%{http_code}'";
        let out = self
            .run(&format!(
                "{curl} --header 'Host: {name}' 'http://127.0.0.1{path}'"
            ))?
            .ok()?;
        let (body, status) = out
            .stdout
            .rsplit_once('\n')
            .context("curl gave no status")?;
        Ok(Page {
            status: status.parse().context("curl gave no status")?,
            body: body.to_owned(),
        })
    }

    /// Requests the page repeatedly until it shows the text.
    pub fn wait_for_page(&self, path: &str, text: &str, seconds: u64) -> Result<Page> {
        self.wait_for_page_of("localhost", path, text, seconds)
    }

    pub fn wait_for_page_of(
        &self,
        name: &str,
        path: &str,
        text: &str,
        seconds: u64,
    ) -> Result<Page> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let page = self.page_of(name, path)?;
            if page.shows(text) {
                return Ok(page);
            }
            ensure!(
                Instant::now() < end,
                "{path} did not show {text:?} in {seconds} s; at last {page:#?}"
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Makes cron's clock run `factor` times as fast: with 20, `* * * * *` fires every 3 s. cron's jobs do
    /// not inherit the clock.
    pub fn fast_cron(&self, factor: u32) -> Result<()> {
        self.script("fast-cron", &[&factor.to_string()])?.ok()?;
        Ok(())
    }

    /// The public half of the app's deploy key.
    pub fn deploy_key(&self, app: &str) -> Result<String> {
        self.read(&format!(
            "/etc/ssh-agent-service/deploy-keys/{app}_ed25519.pub"
        ))
    }

    /// Requests the page without pause during `work`; returns the number of requests and every status
    /// other than 200.
    pub fn under_load<T>(&self, path: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, Load)> {
        let curl =
            format!("curl -s -o /dev/null -m 60 -w '%{{http_code}}\\n' 'http://127.0.0.1{path}'");
        let running = "/run/lab-load";
        thread::scope(|scope| {
            self.run(&format!("touch {running}"))?.ok()?;
            let visitor = scope.spawn(|| {
                self.run_for(
                    600,
                    &format!("while [ -e {running} ]; do {curl} || true; done"),
                )
            });
            let result = work();
            self.run(&format!("rm {running}"))?.ok()?;
            let Ok(answers) = visitor.join() else {
                bail!("the visitor's thread panicked")
            };
            let answers = answers?.ok()?.stdout;
            let failed = answers
                .lines()
                .filter(|&status| status != "200")
                .map(str::to_owned)
                .collect();
            Ok((
                result?,
                Load {
                    requests: answers.lines().count(),
                    failed,
                },
            ))
        })
    }
}

/// Results of continuous requests.
#[derive(Debug)]
pub struct Load {
    pub requests: usize,
    /// Statuses other than 200; 000 if there was no response.
    pub failed: Vec<String>,
}

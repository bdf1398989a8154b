//! One booted server: running commands in it, inspecting it, and making it fail.

use std::process::Command;

use anyhow::{Context, Result};

use super::tool::{Input, TOOL, Unchecked, fresh_server};
use super::{Lan, Terminal};

/// For whatever a test runs inside; a `run` that may take longer says so: `run_for`.
const SECONDS: u64 = 120;

/// What the server's file system is made of.
#[derive(Debug, Clone, Copy)]
pub enum Disk<'a> {
    /// 2 GB of memory: a power cut loses nothing.
    Memory,
    /// Memory of this size ("40m"), to be filled.
    Small(&'a str),
    /// ext4 of this size ("1g"): a power cut loses what was not synced.
    Ext4(&'a str),
}

pub struct Server {
    id: String,
    hostname: String,
    _lan: Lan,
}

impl Server {
    pub(super) fn boot(
        id: String,
        hostname: &str,
        ip: &str,
        image: &str,
        disk: Disk<'_>,
        lan: Lan,
    ) -> Result<Self> {
        let disk = match disk {
            Disk::Memory => "tmpfs:2g".to_owned(),
            Disk::Small(size) => format!("tmpfs:{size}"),
            Disk::Ext4(size) => format!("ext4:{size}"),
        };
        let owner = std::process::id().to_string();
        let mut args = vec![
            "up",
            &id,
            "--hostname",
            hostname,
            "--release",
            image,
            "--disk",
            &disk,
        ];
        args.extend(["--lan", &lan.id, "--ip", ip, "--timeout", "60"]);
        if !kept() {
            args.extend(["--owner", &owner]);
        }
        // As long as it takes to build the image, if this is the first server made from it.
        fresh_server(&args, Input::Nothing, 300)?
            .ok()
            .with_context(|| format!("failed to boot {hostname}"))?;
        Ok(Self {
            id,
            hostname: hostname.to_owned(),
            _lan: lan,
        })
    }

    /// fresh-server's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name inside and on the LAN.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// A command line for bash, as root, without a terminal.
    pub fn run(&self, command: &str) -> Result<Unchecked> {
        self.run_for(SECONDS, command)
    }

    pub fn run_for(&self, seconds: u64, command: &str) -> Result<Unchecked> {
        self.ask(&[], command, Input::Nothing, seconds)
    }

    pub fn run_as(&self, user: &str, command: &str) -> Result<Unchecked> {
        self.ask(&["-u", user], command, Input::Nothing, SECONDS)
    }

    fn ask(
        &self,
        options: &[&str],
        command: &str,
        input: Input<'_>,
        seconds: u64,
    ) -> Result<Unchecked> {
        let mut args = vec!["exec", self.id.as_str()];
        args.extend(options);
        args.extend(["--", "bash", "-c", command]);
        let out =
            fresh_server(&args, input, seconds).with_context(|| format!("on {}", self.hostname))?;
        Ok(out.called(format!("{}: {command}", self.hostname)))
    }

    /// A script of tests/server/inside, as root.
    pub fn script(&self, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_by(&["bash", "-s", "--"], &[], name, args)
    }

    pub fn script_as(&self, user: &str, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_by(&["bash", "-s", "--"], &["-u", user], name, args)
    }

    /// A script of tests/server/inside that is in Python.
    pub fn python_as(&self, user: &str, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_by(&["python3", "-"], &["-u", user], name, args)
    }

    /// One that takes its time.
    pub fn python_for(&self, seconds: u64, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_for(seconds, &["python3", "-"], &[], name, args)
    }

    fn script_by(
        &self,
        reader: &[&str],
        options: &[&str],
        name: &str,
        args: &[&str],
    ) -> Result<Unchecked> {
        self.script_for(SECONDS, reader, options, name, args)
    }

    fn script_for(
        &self,
        seconds: u64,
        reader: &[&str],
        options: &[&str],
        name: &str,
        args: &[&str],
    ) -> Result<Unchecked> {
        let all = [&["exec", self.id.as_str()], options, &["--"], reader, args].concat();
        let out = fresh_server(&all, Input::Script(name), seconds)?;
        Ok(out.called(format!("{}: {name} {}", self.hostname, args.join(" "))))
    }

    /// A session on a terminal inside, 80 columns wide, to be driven key by key.
    pub fn terminal(&self, command: &str) -> Result<Terminal> {
        // Whoever started the tests in the background has SIGINT ignored, and so would everything
        // below: Ctrl-C would do nothing.
        let mut shell = Command::new("env");
        shell
            .args(["--default-signal", TOOL])
            .args(["shell", &self.id, "bash", "-c", command])
            .env("TERM", "xterm-256color");
        Terminal::open(shell, &format!("{}: {command}", self.hostname))
    }

    pub fn read(&self, path: &str) -> Result<String> {
        Ok(self.run(&format!("cat {path}"))?.ok()?.stdout)
    }

    /// As root, 0644 if it is new; the directories above are made.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        self.write_as("root", path, content)
    }

    pub fn write_as(&self, user: &str, path: &str, content: &str) -> Result<()> {
        let command = format!("mkdir -p \"$(dirname {path})\" && cat >{path}");
        self.ask(
            &["-u", user],
            &command,
            Input::Bytes(content.as_bytes()),
            SECONDS,
        )?
        .ok()?;
        Ok(())
    }

    /// A file or directory of this machine, root's inside, its mode kept.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        fresh_server(&["cp", &self.id, from, to], Input::Nothing, SECONDS)?.ok()?;
        Ok(())
    }

    /// Everything below these paths, a sorted line each: path, kind, mode, owner, and content by its
    /// size and hash. No times: two listings are equal when nothing was changed.
    pub fn listing(&self, paths: &[&str]) -> Result<Vec<String>> {
        let out = self
            .script_by(&["python3", "-"], &[], "listing", paths)?
            .ok()?;
        Ok(out.stdout.lines().map(str::to_owned).collect())
    }

    /// A server on which these Debian packages were never installed.
    pub fn without(&self, packages: &[&str]) -> Result<()> {
        let command = format!(
            "SUDO_FORCE_REMOVE=yes dpkg --purge --force-all {} 2>&1",
            packages.join(" ")
        );
        self.run(&command)?.ok()?;
        Ok(())
    }

    /// What systemd's journal says of a unit, for a test that wants to tell why.
    pub fn journal(&self, unit: &str) -> Result<String> {
        Ok(self
            .run(&format!("journalctl --no-pager --output=cat --unit={unit}"))?
            .ok()?
            .stdout)
    }

    /// Nothing comes in or goes out; what was under way hangs.
    pub fn cut_cable(&self) -> Result<()> {
        tool(&["link", &self.id, "down"])
    }

    pub fn plug_cable(&self) -> Result<()> {
        tool(&["link", &self.id, "up"])
    }

    /// The power goes; the disk stays. On `Disk::Ext4` what was not synced is lost.
    pub fn power_cut(&self) -> Result<()> {
        tool(&["cut", &self.id])
    }

    /// An orderly shutdown; the disk stays.
    pub fn shut_down(&self) -> Result<()> {
        tool(&["stop", &self.id])
    }

    /// Shut down, and its disk kept as an image from which others are booted.
    pub(super) fn save(&self, image: &str) -> Result<()> {
        tool(&["save", &self.id, image])
    }

    pub fn boot_again(&self) -> Result<()> {
        tool(&["boot", &self.id])
    }

    /// The server stops in its tracks: it still has its address, and answers nothing.
    pub fn freeze(&self) -> Result<()> {
        tool(&["freeze", &self.id])
    }

    pub fn thaw(&self) -> Result<()> {
        tool(&["thaw", &self.id])
    }
}

fn tool(args: &[&str]) -> Result<()> {
    fresh_server(args, Input::Nothing, SECONDS)?.ok()?;
    Ok(())
}

impl Drop for Server {
    #[expect(
        clippy::print_stderr,
        reason = "only the person who set LAB_KEEP reads this"
    )]
    fn drop(&mut self) {
        if kept() {
            eprintln!(
                "{} is kept: {TOOL} shell {id}; {TOOL} down {id}",
                self.hostname,
                id = self.id
            );
            return;
        }
        if let Err(error) = tool(&["down", &self.id]) {
            eprintln!("{error:#}");
        }
    }
}

fn kept() -> bool {
    std::env::var_os("LAB_KEEP").is_some()
}

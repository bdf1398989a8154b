//! One booted server: running commands in it, inspecting it, and making it fail.

use std::process::Command;

use anyhow::{Context, Result};

use super::tool::{Input, TOOL, Unchecked, fresh_server};
use super::{Lan, Terminal};

/// Timeout of commands on the server; `run_for` takes another one.
const SECONDS: u64 = 120;

/// Type of the server's disk.
#[derive(Debug, Clone, Copy)]
pub enum Disk<'a> {
    /// 2 GB of memory: a power cut loses nothing.
    Memory,
    /// Memory of this size ("40m"), small enough to fill.
    Small(&'a str),
    /// ext4 of this size ("1g"): a power cut loses unsynced data.
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
        if !keep_servers() {
            args.extend(["--owner", &owner]);
        }
        // Enough time to build the image for the first server.
        fresh_server(&args, Input::Nothing, 300)?
            .ok()
            .with_context(|| format!("failed to boot {hostname}"))?;
        Ok(Self {
            id,
            hostname: hostname.to_owned(),
            _lan: lan,
        })
    }

    /// The server's name in fresh-server.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The hostname inside and on the LAN.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Runs a command line in bash, as root, without a terminal.
    pub fn run(&self, command: &str) -> Result<Unchecked> {
        self.run_for(SECONDS, command)
    }

    pub fn run_for(&self, seconds: u64, command: &str) -> Result<Unchecked> {
        self.exec(&[], command, Input::Nothing, seconds)
    }

    pub fn run_as(&self, user: &str, command: &str) -> Result<Unchecked> {
        self.exec(&["-u", user], command, Input::Nothing, SECONDS)
    }

    fn exec(
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

    /// Runs a bash script of tests/server/inside as root.
    pub fn script(&self, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_by(&["bash", "-s", "--"], &[], name, args)
    }

    pub fn script_as(&self, user: &str, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_by(&["bash", "-s", "--"], &["-u", user], name, args)
    }

    /// The same with a timeout in seconds.
    pub fn script_within(&self, seconds: u64, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_for(seconds, &["bash", "-s", "--"], &[], name, args)
    }

    /// Runs a Python script of tests/server/inside.
    pub fn python_as(&self, user: &str, name: &str, args: &[&str]) -> Result<Unchecked> {
        self.script_by(&["python3", "-"], &["-u", user], name, args)
    }

    /// The same with a timeout.
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

    /// Opens a terminal session, 80 columns wide, to be driven key by key.
    pub fn terminal(&self, command: &str) -> Result<Terminal> {
        // Tests started in the background ignore SIGINT, and so would their children: Ctrl-C would have
        // no effect.
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

    /// Writes a file as root, with 0644 if it is new; creates parent directories.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        self.write_as("root", path, content)
    }

    pub fn write_as(&self, user: &str, path: &str, content: &str) -> Result<()> {
        let command = format!("mkdir -p \"$(dirname {path})\" && cat >{path}");
        self.exec(
            &["-u", user],
            &command,
            Input::Bytes(content.as_bytes()),
            SECONDS,
        )?
        .ok()?;
        Ok(())
    }

    /// Copies a file or directory of this machine; root owns it inside, and the mode is kept.
    pub fn copy(&self, from: &str, to: &str) -> Result<()> {
        fresh_server(&["cp", &self.id, from, to], Input::Nothing, SECONDS)?.ok()?;
        Ok(())
    }

    /// Lists everything below these paths, one sorted line each: path, kind, mode, owner, size and
    /// hash of the content. No times: two listings are equal if nothing changed.
    pub fn listing(&self, paths: &[&str]) -> Result<Vec<String>> {
        let out = self
            .script_by(&["python3", "-"], &[], "listing", paths)?
            .ok()?;
        Ok(out.stdout.lines().map(str::to_owned).collect())
    }

    /// Purges these Debian packages.
    pub fn without(&self, packages: &[&str]) -> Result<()> {
        let command = format!(
            "SUDO_FORCE_REMOVE=yes dpkg --purge --force-all {} 2>&1",
            packages.join(" ")
        );
        self.run(&command)?.ok()?;
        Ok(())
    }

    /// The journal of a unit.
    pub fn journal(&self, unit: &str) -> Result<String> {
        Ok(self
            .run(&format!("journalctl --no-pager --output=cat --unit={unit}"))?
            .ok()?
            .stdout)
    }

    /// Drops all traffic; open connections hang.
    pub fn cut_cable(&self) -> Result<()> {
        tool(&["link", &self.id, "down"])
    }

    pub fn plug_cable(&self) -> Result<()> {
        tool(&["link", &self.id, "up"])
    }

    /// Changes its network, which it may not do itself: the arguments of ip(8).
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let words: Vec<&str> = arguments.split(' ').collect();
        tool(&[&["net", self.id.as_str(), "ip"], &words[..]].concat())
    }

    /// Cuts the power and keeps the disk. On `Disk::Ext4` unsynced data is lost.
    pub fn power_cut(&self) -> Result<()> {
        tool(&["cut", &self.id])
    }

    /// Shuts down and keeps the disk.
    pub fn shut_down(&self) -> Result<()> {
        tool(&["stop", &self.id])
    }

    /// Shuts down, and saves the disk as an image for other servers.
    pub(super) fn save(&self, image: &str) -> Result<()> {
        tool(&["save", &self.id, image])
    }

    pub fn boot_again(&self) -> Result<()> {
        tool(&["boot", &self.id])
    }

    /// Freezes all processes: the server keeps its address and answers nothing.
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
        if keep_servers() {
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

fn keep_servers() -> bool {
    std::env::var_os("LAB_KEEP").is_some()
}

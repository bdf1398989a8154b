//! A runner of CI jobs: it plays the README's job files on the git host, in a shell with the very lines of their scripts.
//! Only what a job file `uses`, and what installs packages, is played by the runner itself.

use anyhow::{Context, Result, ensure};

use crate::lab::{Access, GitHost, Output, Repository, Unchecked};

const README: &str = include_str!("../../README.md");
const HOME: &str = "/home/runner";

/// An account with keys: `read` and `write` for what the host lends each job, and the secrets of the recipes.
const SETUP: &str = r#"set -e
useradd --create-home --shell /bin/bash runner
echo '127.0.0.1 gitea.example.org' >>/etc/hosts
cd /home/runner; mkdir keys bin
for key in read write LIVE_KEY SIGNING_KEY other; do ssh-keygen -q -t ed25519 -N '' -C '' -f keys/$key; done
echo "githost,gitea.example.org $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >keys/KNOWN_HOSTS
printf '#!/bin/sh\nexit 0\n' >bin/pip; chmod 755 bin/pip; ln -s /usr/bin/python3 bin/python
chown -R runner: .
"#;

/// Whose job files a CI reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// GitHub Actions, and Gitea's and Forgejo's.
    Actions,
    GitLab,
}

/// A job file of the README.
#[derive(Debug)]
pub struct JobFile {
    text: &'static str,
    kind: Kind,
    /// The job after the tests.
    then: &'static str,
}

impl JobFile {
    /// The job file with this path whose job after the tests is `then`.
    pub fn of(path: &str, then: &'static str) -> Result<Self> {
        let blocks = README.split("```yaml\n").skip(1);
        let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
        let is_it = |text: &&str| {
            text.lines().next() == Some(&format!("# {path}"))
                && text.lines().any(|line| line.trim() == format!("{then}:"))
        };
        let text = blocks.find(is_it).with_context(|| format!("no {path}"))?;
        let kind = if path.starts_with(".gitlab") {
            Kind::GitLab
        } else {
            Kind::Actions
        };
        // Only for the main branch, and only after the tests.
        let of_job = below(text, then)?;
        let (only, after) = match kind {
            Kind::Actions => (
                text.contains("\n    branches: [main]\n"),
                of_job.contains("needs: test"),
            ),
            Kind::GitLab => (
                of_job.contains("- if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"),
                text.contains(&format!("stages: [test, {then}]"))
                    && of_job.contains(&format!("stage: {then}")),
            ),
        };
        ensure!(only && after, "{text}");
        ensure!(!text.contains("force"), "{text}");
        Ok(Self { text, kind, then })
    }
}

pub struct Runner<'a> {
    host: &'a GitHost,
}

impl<'a> Runner<'a> {
    /// Makes the runner, whose secrets `LIVE_KEY` and `write` may push.
    pub fn on(host: &'a GitHost, repo: &Repository) -> Result<Self> {
        host.run(SETUP)?.ok()?;
        let runner = Self { host };
        for (key, access) in [
            ("read", Access::ReadOnly),
            ("write", Access::ReadWrite),
            ("LIVE_KEY", Access::ReadWrite),
        ] {
            host.allow_key(repo, &runner.public_key(key)?, access)?;
        }
        Ok(runner)
    }

    pub fn public_key(&self, name: &str) -> Result<String> {
        self.host.read(&format!("{HOME}/keys/{name}.pub"))
    }

    /// What CI does with a commit: the tests, and the next job if they passed.
    pub fn run(&self, file: &JobFile, commit: &str) -> Result<Unchecked> {
        let tested = self.play(file, "test", commit)?;
        if tested.status != 0 {
            return Ok(tested);
        }
        self.play(file, file.then, commit)
    }

    /// The tests fail, and nothing else is played.
    pub fn is_red(&self, file: &JobFile, commit: &str) -> Result<Output> {
        let out = self.run(file, commit)?.exits(1)?;
        out.says("FAILED (failures=1)")?;
        Ok(out)
    }

    /// Plays one job.
    pub fn play(&self, file: &JobFile, job: &str, commit: &str) -> Result<Unchecked> {
        let text = below(file.text, job)?;
        let mut script = format!(
            "set -e\nexport GIT_CONFIG_NOSYSTEM=1 PATH={HOME}/bin:$PATH\nrm -rf {HOME}/work {HOME}/temp\nmkdir {HOME}/work {HOME}/temp\n\
             cd {HOME}/work\n",
        );
        match file.kind {
            Kind::Actions => {
                script.push_str(&format!(
                    "export GITHUB_SHA={commit} RUNNER_TEMP={HOME}/temp\n"
                ));
                for item in items(&below(&text, "steps")?) {
                    script.push_str(&action(&item, &text, commit)?);
                }
            }
            Kind::GitLab => {
                script.push_str(&format!(
                    "export CI_COMMIT_SHA={commit} CI_COMMIT_BRANCH=main CI_DEFAULT_BRANCH=main CI_PROJECT_PATH=acme/todo\n\
                     export CI_SERVER_SHELL_SSH_HOST=githost CI_SERVER_SHELL_SSH_PORT=22\n",
                ));
                // Variables of type File, with the mode that the runner gives them.
                for name in ["LIVE_KEY", "SIGNING_KEY", "KNOWN_HOSTS"] {
                    script.push_str(&format!(
                        "cp {HOME}/keys/{name} {HOME}/temp; chmod 666 {HOME}/temp/{name}; export {name}={HOME}/temp/{name}\n"
                    ));
                }
                let full = text.contains("GIT_DEPTH: \"0\"");
                // The job token may push, if the project's settings say so.
                let key = if job == "sign" { "write" } else { "read" };
                script.push_str(&checkout(key, full, commit));
                let lines: Vec<String> = items(&below(&text, "script")?)
                    .iter()
                    .map(|item| block(item))
                    .collect();
                script.push_str(&in_shell("set -eo pipefail\n", &lines.join("\n")));
            }
        }
        self.host
            .write_as("runner", &format!("{HOME}/job"), &script)?;
        self.host.run_as("runner", &format!("bash {HOME}/job"))
    }
}

/// The commands for a step of Actions.
fn action(item: &str, job: &str, commit: &str) -> Result<String> {
    if let Some(used) = value(item, "uses") {
        return Ok(match used.as_str() {
            "actions/checkout@v4" => {
                let secret = item
                    .split("ssh-key: ${{ secrets.")
                    .nth(1)
                    .and_then(|rest| rest.split(' ').next());
                let lent = if job.contains("contents: write") {
                    "write"
                } else {
                    "read"
                };
                let full = item.contains("fetch-depth: 0");
                checkout(secret.unwrap_or(lent), full, commit)
            }
            "actions/setup-python@v5" => String::new(),
            other => anyhow::bail!("the runner has no {other}"),
        });
    }
    let mut variables = String::new();
    if item.contains("env:\n") {
        for line in below(item, "env")?.lines() {
            let (name, text) = line.split_once(": ").context("no value")?;
            let stored = text
                .strip_prefix("${{ secrets.")
                .or(text.strip_prefix("${{ vars."));
            let text = match stored.and_then(|rest| rest.strip_suffix(" }}")) {
                Some(key) => format!("\"$(cat {HOME}/keys/{key})\""),
                None => format!("'{text}'"),
            };
            variables.push_str(&format!("export {name}={text}\n"));
        }
    }
    let run = value(item, "run").with_context(|| format!("neither uses nor run: {item}"))?;
    Ok(in_shell(&format!("{variables}set -e\n"), &run))
}

/// As actions/checkout and GitLab's runner do it.
fn checkout(key: &str, full: bool, commit: &str) -> String {
    let what = if full {
        "'+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*'"
    } else {
        "--depth 1"
    };
    format!(
        "git init -q; git remote add origin git@githost:acme/todo.git\n\
         git config core.sshCommand 'ssh -i {HOME}/keys/{key} -o UserKnownHostsFile={HOME}/keys/KNOWN_HOSTS'\n\
         git fetch -q origin {what} {commit}; git checkout -q --detach {commit}\n"
    )
}

/// Commands in a shell of their own, from a file.
fn in_shell(before: &str, lines: &str) -> String {
    format!(
        "cat >{HOME}/temp/step <<'END OF STEP'\n{before}{lines}\nEND OF STEP\nbash {HOME}/temp/step\n"
    )
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines below a key of YAML, without their indentation.
fn below(text: &str, key: &str) -> Result<String> {
    let mut lines = text.lines();
    let outer = lines
        .find(|line| line.trim() == format!("{key}:"))
        .with_context(|| format!("no {key} in {text}"))?;
    let lines: Vec<&str> = lines
        .take_while(|line| indent(line) > indent(outer))
        .collect();
    let inner = lines.first().map_or(0, |line| indent(line));
    Ok(lines
        .iter()
        .flat_map(|line| [&line[inner..], "\n"])
        .collect())
}

/// The items of a list, with the indentation of what follows the dash.
fn items(list: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in list.lines() {
        if let Some(first) = line.strip_prefix("- ") {
            items.push(format!("{first}\n"));
        } else if let Some(item) = items.last_mut() {
            item.push_str(&format!("{}\n", &line[2..]));
        }
    }
    items
}

/// A scalar: the rest of the line, or the block below it.
fn block(scalar: &str) -> String {
    match scalar.trim_start().strip_prefix("|\n") {
        Some(lines) => {
            let inner = lines.lines().next().map_or(0, indent);
            let lines = lines.lines().take_while(|line| indent(line) >= inner);
            lines.flat_map(|line| [&line[inner..], "\n"]).collect()
        }
        None => scalar.lines().next().unwrap_or_default().trim().to_owned(),
    }
}

/// The value of a key at the top of a map.
fn value(map: &str, key: &str) -> Option<String> {
    let start = format!("{key}:");
    let at = if map.starts_with(&start) {
        start.len()
    } else {
        map.find(&format!("\n{start}"))? + 1 + start.len()
    };
    Some(block(&map[at..]))
}

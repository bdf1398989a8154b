//! Metrics, as Prometheus and its node exporter read them.

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Release, Todo};

const README: &str = include_str!("../../README.md");

#[test]
fn prometheus_reads_the_metrics_of_all_apps() -> Result<()> {
    let lab = Lab::new("metrics")?;
    let packages = "+apprise+msmtp-mta+prometheus+prometheus-node-exporter";
    let todo = Todo::with_packages(&lab, Release::Bookworm, packages)?;
    todo.make_live()?;
    let Todo { repo, web, .. } = &todo;
    web.run("pullpray metrics | promtool check metrics")?.ok()?;
    let value = |name: &str, labels: &str| -> Result<String> {
        let out = web.run("pullpray metrics")?.ok()?;
        let line = format!("pullpray_{name}{{app=\"todo\"{labels}}} ");
        let found = out.stdout.lines().find_map(|it| it.strip_prefix(&line));
        Ok(found
            .with_context(|| format!("{line}: {out:?}"))?
            .to_owned())
    };
    for (name, expected) in [
        ("up", "1"),
        ("needs_attention", "0"),
        ("failed_commits", "0"),
        ("paused", "0"),
        ("last_deployment_failed", "0"),
    ] {
        ensure!(value(name, "")? == expected, "{name}");
    }
    for part in ["fetch", "build", "trial", "switch"] {
        let took: f64 =
            value("last_deployment_part_seconds", &format!(",part=\"{part}\""))?.parse()?;
        ensure!(took < 100.0, "{part}: {took}");
    }
    let live = web.run("date +%s")?.ok()?.stdout;
    let since: i64 = value("live_timestamp_seconds", "")?.parse()?;
    let age = live.trim().parse::<i64>()? - since;
    ensure!((0..600).contains(&age), "{age}");
    repo.commit("Break it", &[("todo/wsgi.py", "raise RuntimeError\n")])?;
    web.run("pullpray poll todo")?.exits(1)?;
    web.run("pullpray pause todo")?.ok()?;
    for name in [
        "needs_attention",
        "failed_commits",
        "paused",
        "last_deployment_failed",
    ] {
        ensure!(value(name, "")? == "1", "{name}");
    }
    let commit = repo.run("git rev-parse --short=7 HEAD^")?;
    ensure!(value("live_info", &format!(",commit=\"{}\"", commit.trim()))? == "1");

    // The README's cron line, as the node exporter serves it; and its rules.
    let lines = || README.lines().map(str::trim);
    let cron = lines().find(|line| line.contains("pullpray metrics >"));
    let cron = cron.context("no cron line")?;
    let command = cron.split_once("root ").context("no command")?.1;
    web.run(&format!(
        "systemctl stop prometheus; {command} && systemctl restart prometheus-node-exporter; \
         for n in $(seq 50); do curl -s http://127.0.0.1:9100/metrics | grep -q '^pullpray_paused{{app=\"todo\"}} 1' && exit; sleep 0.2; done; exit 9",
    ))?
    .ok()?;
    let rules: Vec<&str> = README
        .lines()
        .skip_while(|line| !line.starts_with("groups:"))
        .take_while(|line| *line != "```")
        .collect();
    ensure!(rules.len() > 5);
    web.write("/root/rules.yml", &rules.join("\n"))?;
    web.run("promtool check rules /root/rules.yml")?
        .ok()?
        .says("SUCCESS")?;
    // State that cannot be read hides no other app.
    web.run("echo x >/etc/pullpray/other.toml; pullpray metrics >/root/out; [ $? = 1 ] && promtool check metrics </root/out && grep -c 'pullpray_up{app=\"other\"} 0' /root/out")?
        .ok()?;
    Ok(())
}

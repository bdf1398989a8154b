//! init killed repeatedly, each time later, and run until it is done: nothing is lost,
//! left over, or created twice.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo, differences};

#[test]
fn init_recovers_from_repeated_kills() -> Result<()> {
    init_killed(1.6, 6)
}

/// Multiplies the time before each kill by `longer`; fewer kills than `enough` prove nothing.
pub fn init_killed(longer: f64, enough: usize) -> Result<()> {
    let lab = Lab::new("killed")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let init = todo.init("--schedule '0 0 1 1 *'")?;
    let mut key: Option<String> = None;
    let mut after = 0.05;
    let mut kills = 0;
    let ended = loop {
        let out = web.run(&format!(
            "{init} >/tmp/said 2>&1 & init=$!; sleep {after:.2}; kill -KILL $init 2>/dev/null; wait $init; \
             status=$?; [ $status = 137 ] || cat /tmp/said; exit $status"
        ))?;
        match out.status {
            137 => kills += 1,
            0 => break out.ok()?,
            // The git host does not know the key yet.
            3 => ensure!(key.is_none(), "{}", *out),
            _ => {
                out.ok()?;
            }
        }
        let made = "cat /etc/ssh-agent-service/deploy-keys/todo_ed25519.pub 2>/dev/null";
        let now = web.run(made)?.stdout.clone();
        match &key {
            Some(key) => ensure!(*key == now, "the key that the host knows is gone: {now}"),
            None if !now.is_empty() => {
                host.allow_key(repo, &now, Access::ReadOnly)?;
                key = Some(now);
            }
            None => {}
        }
        after *= longer;
        ensure!(after < 300.0, "it never ends");
    };
    ensure!(kills >= enough, "{kills} kills are too few");
    // On a busy machine the last kill may come when all is done, and nothing is said yet.
    let live = ended.says("todo is live at").map(drop);
    live.or_else(|_| ended.says("nothing to change").map(drop))?;
    ensure!(web.page("/")?.shows("version one"));
    web.run("pullpray init todo --yes")?
        .ok()?
        .says("nothing to change")?;

    let other = lab.web_server(Release::Bookworm)?;
    other.run(&init)?.exits(3)?;
    host.allow_key(repo, &other.deploy_key("todo")?, Access::ReadOnly)?;
    other.run(&init)?.ok()?;
    let differs = differences(&other.created()?, &web.created()?);
    ensure!(
        differs.is_empty(),
        "uninterrupted -, killed +: {differs:#?}"
    );
    Ok(())
}

//! What keeps cron from starting polls, though a poll by hand works.

use anyhow::{Result, ensure};

use crate::faults::{all_is_quiet, deploys};
use crate::lab::{Access, Lab, Release, Todo};

#[test]
fn an_account_that_was_there_is_never_made_while_its_directory_is_away() -> Result<()> {
    let lab = Lab::new("away")?;
    let todo = Todo::before_init(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    web.run("useradd --create-home runner")?.ok()?;
    let init = todo.init("--user runner --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    repo.push("version two")?;

    // As a server is without its directory service: the number is there, and no name for it.
    web.run("mkdir /root/away; cp -a /etc/passwd /etc/group /etc/shadow /etc/gshadow /root/away/; sed -i /^runner:/d /etc/passwd /etc/group /etc/shadow /etc/gshadow; ! id runner")?
        .ok()?;
    let owners = "find /var/www /www /var/lib/pullpray /etc -uid 0 -o -printf '%p %U:%G\\n' | sort";
    let before = web.run(owners)?.ok()?.stdout;
    web.run("pullpray doctor todo --offline")?
        .exits(1)?
        .says("fail  account.user           this server does not know the user runner any more")?
        .says("fail  account.group          this server does not know the group runner any more")?;
    web.run("pullpray doctor todo --fix --yes --offline")?
        .exits(1)?
        .says("fix: getent passwd runner")?;
    web.run(&init)?
        .exits(1)?
        .says("is its directory service away?")?;
    web.run("id runner || getent group runner")?.exits(2)?;
    ensure!(before == web.run(owners)?.ok()?.stdout);

    web.run("cp -a /root/away/* /etc/")?.ok()?;
    deploys(web, "version two")?;
    all_is_quiet(web)?;
    web.run("pullpray doctor todo --offline --strict")?.ok()?;
    Ok(())
}

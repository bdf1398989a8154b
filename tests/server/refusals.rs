//! Problems with the git host that init refuses, before it changes anything.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo};

#[test]
fn a_key_with_write_access_is_refused() -> Result<()> {
    let lab = Lab::new("write")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let init = host.init(&repo, "--app todo")?;
    web.run(&init)?.exits(3)?;
    let key = web.deploy_key("todo")?;

    host.allow_key(&repo, &key, Access::ReadWrite)?;
    web.run(&init)?
        .exits(1)?
        .says("(repo.read_only)")?
        .says("the deploy key can push to acme/todo")?
        .says("sudo pullpray init todo  # after removing the key at githost and adding it again without write access")?;
    web.run("cat /etc/cron.d/pullpray-todo /etc/sudoers.d/pullpray-todo")?
        .exits(1)?;
    ensure!(web.page("/")?.status == 502, "nothing is live");
    ensure!(repo.run("git ls-remote origin")?.lines().count() == 2);

    host.forget_keys()?;
    host.allow_key(&repo, &key, Access::ReadOnly)?;
    web.run(&init)?
        .ok()?
        .says("githost refuses to let it push")?;
    ensure!(web.page("/")?.shows("version one"));
    Ok(())
}

#[test]
fn an_address_that_is_not_a_repository_over_ssh_is_refused() -> Result<()> {
    let lab = Lab::new("address")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    for (address, says) in [
        (
            "https://github.com/acme/todo.git",
            "write git@github.com:acme/todo.git",
        ),
        ("https://ann:secret@github.com/acme/todo", "over ssh only"),
        ("/srv/todo.git", "is not the ssh address of a repository"),
        ("nonsense", "for example git@github.com:acme/todo.git"),
        ("git@githost:", "--repo"),
        ("-oProxyCommand=id:x", "--repo"),
    ] {
        let refused = web
            .changes_nothing(&format!(
                "pullpray init --yes --app todo --repo={address} --host-key {}",
                host.fingerprint()?
            ))?
            .exits(2)?;
        refused.says(says)?;
        ensure!(
            !refused.stderr.contains("secret"),
            "a password is not repeated: {refused}"
        );
    }

    // The key has access to another repository: the host reports that this one does not exist.
    let other = host.repository("acme/other")?;
    let init = host.init(&repo, "--app todo")?;
    web.run(&init)?.exits(3)?.says("Permission denied")?;
    host.allow_key(&other, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.exits(3)?.says("Repository not found")?;
    // A missing branch is not an access problem.
    host.forget_keys()?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&format!("{init} --branch trunk"))?
        .exits(1)?
        .says("has no branch trunk")?
        .says("pullpray init todo --branch NAME")?;
    web.run("ls /etc/cron.d/pullpray-todo")?.exits(2)?;
    web.run(&format!("{init} --branch main"))?.ok()?;
    Ok(())
}

#[test]
fn an_unreachable_host_stops_init_before_any_change() -> Result<()> {
    let lab = Lab::new("silent")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let init = host.init(&repo, "--app todo")?;
    host.stop_sshd()?;
    web.changes_nothing(&init)?
        .exits(1)?
        .says("no SSH server answered on githost port 22")?;
    host.start_sshd()?;
    web.cut_cable()?;
    web.changes_nothing(&init)?
        .exits(1)?
        .says("no SSH server answered on githost port 22")?;
    web.plug_cable()?;

    web.run(&init)?.exits(3)?;
    host.stop_sshd()?;
    web.changes_nothing(&init)?
        .exits(1)?
        .says("could not reach githost")?
        .says("Connection refused")?;
    Ok(())
}

#[test]
fn a_host_key_is_never_trusted_blindly() -> Result<()> {
    let lab = Lab::new("hostkey")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    let right = host.fingerprint()?;
    let wrong = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let init = format!("pullpray init --yes --app todo --repo {}", repo.url());

    // The key is read on the way that ssh's configuration gives, here a proxy, which ssh-keyscan does not know.
    web.run(
        r#"printf '#!/bin/bash\nexec 3<>/dev/tcp/githost/22\ncat <&3 &\ntrap "kill $!" EXIT\ncat >&3\n' >/usr/local/bin/proxy
        chmod 755 /usr/local/bin/proxy
        printf 'Host githost\n HostName away.invalid\n ProxyCommand /usr/local/bin/proxy\n' >/etc/ssh/ssh_config.d/00-proxy.conf"#,
    )?
    .ok()?;
    web.changes_nothing(&init)?
        .exits(2)?
        .says(&format!("--host-key {right}"))?;
    web.run("sed -i '1s/.*/Host githost-repo-todo/' /etc/ssh/ssh_config.d/00-proxy.conf")?
        .ok()?;
    web.changes_nothing(&init)?
        .exits(2)?
        .says("missing: --host-key")?
        .says(&format!("--host-key {right}"))?;
    web.changes_nothing(&format!("{init} --host-key {wrong}"))?
        .exits(1)?
        .says(&format!("expected {wrong}"))?
        .says(&right)?;

    let init = host.init(&repo, "--app todo --schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    host.change_host_key()?;
    let new = host.fingerprint()?;
    repo.push("version two")?;
    web.run("pullpray poll todo -v")?
        .exits(3)?
        .says("Host key verification failed")?;
    ensure!(web.page("/")?.shows("version one"));
    web.changes_nothing("pullpray init todo --yes")?
        .exits(1)?
        .says(&right)?
        .says(&new)?
        .says(&format!("pullpray init todo --host-key {new}"))?;
    web.run(&format!("pullpray init todo --yes --host-key {new}"))?
        .ok()?;
    ensure!(
        !web.read("/etc/ssh-agent-service/todo.known_hosts")?
            .contains(&right)
    );
    web.run("pullpray poll todo")?.ok()?.says("version two")?;
    Ok(())
}

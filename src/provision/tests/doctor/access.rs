//! Keys, the agent, the git host.

use super::*;
use crate::app::App;
use crate::render;

#[test]
fn the_deploy_key_is_never_overwritten() -> Result<()> {
    let world = world()?;
    let name = &world.app.name;
    let (private, public) = (
        world.server.real(layout::private_key(name)),
        world.server.real(layout::public_key(name)),
    );
    let (key, line) = (fs::read(&private)?, fs::read(&public)?);
    chmod(&private, 0o644)?;
    expect(
        &world,
        StepId::KeyDeploy,
        "differs",
        "is 0644 root:root, should be 0600 root",
    )?;
    world.fix(StepId::KeyDeploy)?;
    fs::write(&public, "ssh-ed25519 x")?;
    expect(
        &world,
        StepId::KeyDeploy,
        "differs",
        "its public half is missing or does not match",
    )?;
    world.fix(StepId::KeyDeploy)?;
    chmod(&public, 0o666)?;
    expect(
        &world,
        StepId::KeyDeploy,
        "differs",
        "its public half should be 0644 root",
    )?;
    world.fix(StepId::KeyDeploy)?;
    assert_eq!(
        (fs::read(&private)?, fs::read(&public)?),
        (key.clone(), line.clone())
    );
    fs::write(&private, "not a key")?;
    expect(
        &world,
        StepId::KeyDeploy,
        "manual",
        "is not an unencrypted ed25519 or rsa key",
    )?;
    assert!(world.fix(StepId::KeyDeploy).is_err());
    assert_eq!(fs::read(&private)?, b"not a key");
    // Lost, it is still in the agent: a new one would be unknown to the git host.
    fs::remove_file(&private)?;
    expect(
        &world,
        StepId::KeyDeploy,
        "manual",
        "only the agent still has the key",
    )?;
    fs::write(&private, &key)?;
    chmod(&private, 0o600)?;
    // A rotation is in progress, or was killed after its switch.
    world
        .server
        .put(layout::next_private_key(name), "x", 0o600)?;
    expect(
        &world,
        StepId::KeyDeploy,
        "warning",
        "a rotation to the next key has begun",
    )?;
    fs::remove_file(world.server.real(layout::next_private_key(name)))?;
    world
        .server
        .put(layout::next_public_key(name), "x", 0o644)?;
    expect(
        &world,
        StepId::KeyDeploy,
        "differs",
        "was rotated, and leftover files need cleaning up",
    )?;
    world.fix(StepId::KeyDeploy)?;
    expect(&world, StepId::KeyDeploy, "ok", "ed25519 SHA256:")?;
    Ok(())
}

#[test]
fn a_host_key_is_pinned_only_if_it_is_the_expected_one() -> Result<()> {
    let world = world()?;
    let path = world.server.real(layout::known_hosts(&world.app.name));
    let pinned = fs::read_to_string(&path)?;
    chmod(&path, 0o600)?;
    expect(&world, StepId::SshHostKey, "differs", "should be 0644 root")?;
    world.fix(StepId::SshHostKey)?;
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhbVLD7TGMZmgDL4F6VdRmYPBWYLVzLDAr6VLCVCq8u";
    fs::write(
        &path,
        format!("# mine\nexample.org {other}\ngithub.com {other}\n"),
    )?;
    expect(
        &world,
        StepId::SshHostKey,
        "differs",
        "is pinned, the settings say SHA256:",
    )?;
    let offline = world.look(StepId::SshHostKey, false, true)?;
    assert!(matches!(offline, Finding::ManualFix(_)), "{offline:?}");
    world.fix(StepId::SshHostKey)?;
    assert_eq!(
        fs::read_to_string(&path)?,
        format!("# mine\nexample.org {other}\n{pinned}")
    );
    fs::remove_file(&path)?;
    expect(
        &world,
        StepId::SshHostKey,
        "absent",
        "adds one line: ssh-ed25519 SHA256:",
    )?;
    let shown = world.server.real(Path::new("/usr/share/host-key"));
    fs::write(&shown, format!("pullpray-host-key {other}\n"))?;
    let error = world
        .find(StepId::SshHostKey)
        .err()
        .map(|error| error.to_string());
    assert!(
        error.is_some_and(|text| text.starts_with("github.com presents an unexpected host key"))
    );
    expect(
        &world,
        StepId::SshHostKeyShown,
        "manual",
        "its key has changed, or somebody intercepts",
    )?;
    assert!(world.fix(StepId::SshHostKey).is_err() && !path.exists());
    Ok(())
}

#[test]
fn the_agent_is_restarted_until_it_has_the_key() -> Result<()> {
    let world = world()?;
    let unit = layout::agent_unit(&world.app.name);
    let socket = world.server.real(layout::agent_socket(&world.app.name));
    fs::rename(&socket, socket.with_extension("was"))?;
    expect(&world, StepId::AgentKey, "differs", "runs, but its socket")?;
    fs::rename(socket.with_extension("was"), &socket)?;
    for (active, enabled) in [("failed", "enabled"), ("active", "disabled")] {
        let mut table = world.server.units.table();
        let state = table.units.entry(unit.clone()).or_default();
        (state.active, state.enabled) = (active.to_owned(), enabled.to_owned());
        drop(table);
        expect(
            &world,
            StepId::AgentKey,
            "differs",
            &format!("is {active} and {enabled}"),
        )?;
        world.fix(StepId::AgentKey)?;
        assert!(world.server.units.is_active(&unit));
    }
    world
        .server
        .units
        .table()
        .units
        .entry(unit)
        .or_default()
        .load = "masked".to_owned();
    expect(
        &world,
        StepId::AgentKey,
        "manual",
        "ssh-agent.todo.service is masked",
    )?;
    fs::remove_file(world.server.real(layout::public_key(&world.app.name)))?;
    Ok(())
}

#[test]
fn the_repository_is_read_and_must_not_be_writable() -> Result<()> {
    let world = world()?;
    expect(&world, StepId::RepoAccess, "ok", "reads main at 1234567")?;
    expect(
        &world,
        StepId::RepoReadOnly,
        "ok",
        "github.com refuses to let it push",
    )?;
    let refs = world.server.real(Path::new("/usr/share/refs"));
    let moved = format!(
        "echo 'remote: This repository moved. Use git@h:x.' >&2; cat {}; exec cat >/dev/null",
        refs.display()
    );
    world.put_program("/usr/bin/ssh", &moved)?;
    let words = "the host says: remote: This repository moved.";
    expect(&world, StepId::RepoAccess, "ok", words)?;
    let refused = "echo 'ERROR: Repository not found.' >&2; exit 1";
    for (script, access, read_only) in [
        (
            refused,
            ("access", "Repository not found"),
            ("blocked", "verified by a test push"),
        ),
        (
            "case $* in *'-G '*) echo hostkeyalgorithms ssh-ed25519; exit;; *=/bin/sh*) cat ROOT/usr/share/host-key >&2;; esac\n\
             echo 'Host key verification failed.' >&2; exit 255",
            ("blocked", "read once it is pinned"),
            ("blocked", "verified by a test push"),
        ),
        (
            "for last; do :; done; case $last in *receive*) printf '003f%s refs/heads/main\\0x\\n' 1234567890123456789012345678901234567890;; *) cat ROOT/usr/share/refs; exec cat >/dev/null;; esac",
            ("ok", "reads"),
            ("manual", "the deploy key can push to acme/todo"),
        ),
        (
            "for last; do :; done; case $last in *receive*) echo no >&2; exit 1;; *) cat ROOT/usr/share/refs; exec cat >/dev/null;; esac",
            ("ok", "reads"),
            ("unproven", "could not be verified: no"),
        ),
        (
            "printf '000eversion 2\\n000cls-refs\\n00000000'; exec cat >/dev/null",
            ("manual", "the repository can be read and"),
            ("ok", "github.com refuses to let it push"),
        ),
    ] {
        let root = world.server.root().display().to_string();
        world.put_program("/usr/bin/ssh", &script.replace("ROOT", &root))?;
        expect(&world, StepId::RepoAccess, access.0, access.1)?;
        expect(&world, StepId::RepoReadOnly, read_only.0, read_only.1)?;
    }
    world.put_program(
        "/usr/bin/ssh",
        "echo 'ssh: connect to host github.com port 22: Connection refused' >&2; exit 255",
    )?;
    for id in [StepId::RepoAccess, StepId::RepoReadOnly] {
        let error = world.find(id).err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.starts_with("could not reach github.com: ")));
    }
    fs::remove_file(world.server.real(layout::public_key(&world.app.name)))?;
    expect(
        &world,
        StepId::RepoAccess,
        "blocked",
        "read with the key in the agent",
    )?;
    Ok(())
}

#[test]
fn a_proxy_stands_in_the_alias_and_on_the_command_line() -> Result<()> {
    let world = world()?;
    for (answer, line) in [
        ("jump@bastion:2222", "proxyjump jump@bastion:2222"),
        (
            "nc -x proxy:3128 %h %p",
            "proxycommand nc -x proxy:3128 %h %p",
        ),
        (
            "socks5://me:s3cret@proxy",
            &format!(
                "proxycommand {} tunnel %h %p --app todo",
                world.app.program.display()
            ),
        ),
    ] {
        let mut app = world.app.clone();
        app.proxy = Some(answer.parse()?);
        let other = "Host *\n ProxyCommand none\n";
        let file = effective(&app, &render::ssh_config(&app)?, &[])?;
        let arguments = effective(&app, other, &render::ssh_arguments(&app))?;
        for text in [file, arguments] {
            assert!(!text.contains("s3cret"));
            assert!(text.lines().any(|is| is == line), "{text}");
        }
    }
    for bad in ["-oX", "a\nb c", "x\"y z", "h;id", " ", "$(id)"] {
        assert!(bad.parse::<crate::app::Proxy>().is_err(), "{bad}");
    }
    Ok(())
}

/// What `ssh -G` prints for the alias, with these files and options.
fn effective(app: &App, config: &str, options: &[String]) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config");
    fs::write(&file, config)?;
    let output = std::process::Command::new("ssh")
        .arg("-F")
        .arg(file)
        .args(options.iter().flat_map(|option| ["-o", option]))
        .args(["-G", "--", &app.ssh_alias()])
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn no_host_star_decides_whose_key_and_connection_is_used_or_what_is_run() -> Result<()> {
    let world = world()?;
    let app = &world.app;
    let hostile = "Host *\n User root\n HostKeyAlias other\n IdentityAgent /tmp/agent\n \
        IdentitiesOnly no\n PubkeyAuthentication no\n PreferredAuthentications password\n \
        UserKnownHostsFile /dev/null\n GlobalKnownHostsFile /tmp/known\n KnownHostsCommand /bin/false\n \
        StrictHostKeyChecking no\n VerifyHostKeyDNS yes\n NoHostAuthenticationForLocalhost yes\n \
        UpdateHostKeys yes\n BatchMode no\n ControlMaster auto\n ControlPath /tmp/%r\n ControlPersist yes\n \
        RemoteCommand id\n LocalCommand id\n PermitLocalCommand yes\n SessionType none\n \
        ForkAfterAuthentication yes\n StdinNull yes\n RequestTTY force\n ForwardAgent yes\n ForwardX11 yes\n \
        ClearAllForwardings no\n Tunnel yes\n AddKeysToAgent yes\n PKCS11Provider /tmp/lib.so\n LogLevel QUIET\n \
        CanonicalizeHostname yes\n CanonicalDomains example.org\n ConnectTimeout 1\n ServerAliveInterval 1\n \
        ServerAliveCountMax 1\n";
    let alone = effective(app, &render::ssh_config(app)?, &[])?;
    let after = effective(
        app,
        &format!("{hostile}{}", render::ssh_config(app)?),
        &render::ssh_arguments(app),
    )?;
    for (name, value) in render::ssh_options(app) {
        let name = name.to_lowercase();
        // As ssh -G prints it; "none" of some options is not printed at all.
        let is = |text: &str| {
            let of = |line: &str| Some(line.split_once(' ')?.1.to_owned());
            let lines = text.lines().filter(|line| {
                line.split_once(' ')
                    .is_some_and(|(option, _)| option == name)
            });
            lines.filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(is(&after), is(&alone), "{name}");
        let printed: &[&str] = match value.as_str() {
            "yes" => &["yes", "true"],
            "no" => &["no", "false"],
            value => &[value],
        };
        assert!(
            is(&alone)
                .iter()
                .any(|is| printed.contains(&is.as_str()) || is == &value.to_uppercase())
                || is(&alone).is_empty() && value == "none",
            "{name} {value}: {:?}",
            is(&alone)
        );
    }
    // What the documentation says a file before ours may set.
    let proxy = "Host *\n ProxyCommand nc %h %p\n Port 443\n HostName ssh.github.com\n";
    let text = effective(
        app,
        &format!("{proxy}{}", render::ssh_config(app)?),
        &render::ssh_arguments(app),
    )?;
    for line in [
        "hostname ssh.github.com",
        "port 443",
        "hostkeyalias github.com",
        "proxycommand nc %h %p",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}\n{text}");
    }
    Ok(())
}

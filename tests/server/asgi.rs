//! An ASGI application with a WebSocket, by gunicorn with uvicorn's workers, as the README says.

use anyhow::{Context, Result, ensure};

use crate::lab::{Access, Lab, Release, Todo};

const README: &str = include_str!("../../README.md");
const ASGI: &str = "import os\nfrom pathlib import Path\n\nfrom django.core.asgi import get_asgi_application\n\n\
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'todo.settings')\ndjango = get_asgi_application()\n\
version = Path('VERSION').read_text().strip()\n\n\n\
async def application(scope, receive, send):\n    if scope['type'] != 'websocket':\n        return await django(scope, receive, send)\n    \
await receive()\n    await send({'type': 'websocket.accept'})\n    said = await receive()\n    \
await send({'type': 'websocket.send', 'text': f\"{version}: {said['text']}\"})\n    await send({'type': 'websocket.close'})\n";
const STOP: &str = "/run/sockets-stop";

#[test]
fn websockets_are_answered_through_a_switch() -> Result<()> {
    let lab = Lab::new("asgi")?;
    let todo = Todo::with_services(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let lines = README.lines().map(str::trim);
    let upgrade: Vec<&str> = (lines.clone())
        .skip_while(|line| !line.starts_with("map $http_upgrade"))
        .take_while(|line| *line != "```")
        .collect();
    let (beside, inside) = upgrade.split_at(
        upgrade
            .iter()
            .position(|line| line.is_empty())
            .context("no recipe")?,
    );
    ensure!(beside.len() == 2 && inside.len() == 5, "{upgrade:?}");
    web.run(&format!(
        "sed -i -e '1i{}' -e 's|proxy_pass .*|{}|' /etc/nginx/sites-enabled/todo && nginx -t && systemctl reload nginx",
        beside.join("\\n"),
        inside.join("\\n")
    ))?
    .ok()?;
    repo.commit("Speak ASGI", &[("todo/asgi.py", ASGI)])?;
    let line = lines
        .clone()
        .find(|line| line.starts_with("web: gunicorn --worker-class"));
    let line = line.context("no line in the README")?;
    repo.commit("Say how", &[("Procfile", &format!("{line}\n"))])?;
    let init = todo.init("--schedule '0 0 1 1 *' --workers 2")?;
    web.run(&init)?.exits(3)?;
    host.allow_key(repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?;
    let page = web.page("/")?;
    ensure!(page.shows("version one"), "{page:?}");
    web.run("journalctl -u gunicorn.todo.service | grep -q 'uvicorn.workers.UvicornWorker'")?
        .ok()?;
    web.write("/root/websocket.py", include_str!("inside/websocket.py"))?;
    web.run(&format!("systemd-run --quiet --unit=sockets --property=StandardOutput=file:/root/seen python3 /root/websocket.py {STOP}"))?
        .ok()?;
    repo.push("version two")?;
    web.run("sleep 1; pullpray poll todo")?
        .ok()?
        .says("live after")?;
    web.run(&format!(
        "sleep 1; touch {STOP}; for n in $(seq 100); do [ -s /root/seen ] && break; sleep 0.1; done"
    ))?
    .ok()?;
    let seen = web.read("/root/seen")?;
    let last = seen.lines().last().context("nothing")?;
    let answered = last.split(' ').next().unwrap_or_default();
    let answered: u32 = answered.parse().with_context(|| seen.clone())?;
    ensure!(
        answered > 20 && seen.ends_with(" 0 version two: hi\n"),
        "{seen}"
    );
    web.run("pullpray doctor todo --strict")?.ok()?;
    Ok(())
}

//! A git host that only the company's proxy reaches.

use anyhow::{Result, ensure};

use crate::lab::{Access, Lab, Release, Todo};

/// Answers CONNECT on port 3128 and copies bytes, to the sshd of its own machine only.
const PROXY: &str = r#"
import socket, socketserver, threading
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        if line[:2] != [b"CONNECT", b"githost:22"]:
            return self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        far = socket.create_connection(("127.0.0.1", 22))
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        def copy(read, write):
            while data := read(65536):
                write(data)
        threading.Thread(target=copy, args=(far.recv, self.connection.sendall), daemon=True).start()
        copy(self.connection.recv, far.sendall)
        far.shutdown(socket.SHUT_WR)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
Server(("", 3128), Handler).serve_forever()
"#;
/// What `nc -X connect` does, which a minimal server lacks.
const CONNECT: &str = r#"#!/usr/bin/python3
import os, socket, sys, threading
far = socket.create_connection(("githost", 3128))
far.sendall(f"CONNECT {sys.argv[1]}:{sys.argv[2]} HTTP/1.1\r\n\r\n".encode())
answer = b""
while not answer.endswith(b"\r\n\r\n"):
    answer += far.recv(1) or sys.exit("the proxy closed the connection")
if b" 200 " not in answer:
    sys.exit("the proxy refuses")
def send():
    while data := os.read(0, 65536):
        far.sendall(data)
    far.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := far.recv(65536):
    os.write(1, data)
"#;

#[test]
fn init_and_polls_go_through_the_proxy() -> Result<()> {
    let lab = Lab::new("proxy")?;
    let Todo { host, repo, web } = Todo::before_init(&lab, Release::Bookworm)?;
    host.write("/srv/proxy.py", PROXY)?;
    host.run("echo 'ListenAddress 127.0.0.1' >/etc/ssh/sshd_config.d/local.conf && systemctl restart ssh && systemd-run --unit=proxy python3 /srv/proxy.py")?
        .ok()?;
    web.write("/usr/local/bin/connect", CONNECT)?;
    web.run("chmod 755 /usr/local/bin/connect")?.ok()?;
    // Without it, the way is named.
    let init = host.init(&repo, "--schedule '0 0 1 1 *'")?;
    web.run(&init)?.exits(1)?.says("--proxy")?;
    web.run("ls /etc/pullpray/todo.toml")?.exits(2)?;

    let init = format!("{init} --proxy '/usr/local/bin/connect %h %p'");
    web.run(&init)?.exits(3)?;
    host.allow_key(&repo, &web.deploy_key("todo")?, Access::ReadOnly)?;
    web.run(&init)?.ok()?.says("todo is live at")?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("version two"));
    web.run("pullpray doctor todo")?
        .ok()?
        .says("ssh.host_key_shown")?;
    // The proxy goes away, and comes back.
    host.run("systemctl stop proxy")?.ok()?;
    repo.push("version three")?;
    web.run("pullpray poll todo")?.exits(3)?;
    host.run("systemd-run --unit=proxy-again python3 /srv/proxy.py")?
        .ok()?;
    web.run("for i in $(seq 50); do /usr/local/bin/connect githost 22 </dev/null && break; sleep 0.2; done; pullpray poll todo")?
        .ok()?;
    ensure!(web.page("/")?.shows("version three"));
    Ok(())
}

//! A client for ssh-agent: lists its keys, and adds the deploy key.
//!
//! Only here does the private key leave root. `ssh-add` would send it to any process that answers on the socket's
//! path, and until the agent has bound its socket, that path is in a directory of the deploy user, who could put a
//! socket of their own there and receive the key (measured). So this module sends the key over a connection whose
//! peer is verified to be the unit's main process, after it has taken the directory from the user.
//!
//! The user could also trace the agent, which runs as the same user. OpenSSH makes itself untraceable, but only some
//! instructions after its start. Debian installs ssh-agent setgid (`_ssh`), which closes this gap: the kernel makes a
//! process untraceable when it gains a group by exec, and systemd's child is untraceable since it changed its user
//! (prctl(2), PR_SET_DUMPABLE; ptrace(2), "Ptrace access mode checking"). ssh-agent drops the group again, so the
//! checks are that setgid took effect (no_new_privs is off, the file system is not mounted nosuid) and that no process
//! traces it now.
//!
//! The protocol is draft-ietf-sshm-ssh-agent: a length, a type, strings with lengths.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use ssh_key::private::KeypairData;
use ssh_key::{HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use crate::error::WithHint;

use super::{Account, Server, View};

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const ADD_IDENTITY: u8 = 17;

/// A key in an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Public key in OpenSSH's format, without the comment.
    pub public: String,
    /// Comment.
    pub comment: String,
}

impl View {
    /// Lists the keys of the agent at a socket.
    ///
    /// # Errors
    /// When the connection fails, the agent does not serve this user, or its response is invalid.
    pub fn agent_keys(&self, socket: &Path) -> Result<Vec<AgentKey>> {
        let mut agent = connect(&self.real(socket))?;
        parse_keys(&exchange(&mut agent, &[REQUEST_IDENTITIES])?)
    }
}

/// Adds private keys to the agent of a unit. The unit runs this as root right after it has started the agent.
///
/// # Errors
/// When the peer of the socket cannot be verified to be the unit's main process (then no key was sent), or the agent
/// refuses a key.
pub fn hand_over_key(
    server: &Server,
    unit: &str,
    socket: &Path,
    key_files: &[PathBuf],
    user: &Account,
) -> Result<()> {
    let dir = socket
        .parent()
        .ok_or_else(|| anyhow!("{} has no directory", socket.display()))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let main_pid = loop {
        let state = server.unit(unit)?;
        if state.main_pid != 0 && server.stat(socket)?.is_some() {
            break state.main_pid;
        }
        if matches!(
            state.active.as_str(),
            "failed" | "inactive" | "deactivating"
        ) {
            bail!("{unit} exited before it received its key");
        }
        if Instant::now() > deadline {
            bail!(
                "{unit} created no socket at {} within 10 s",
                socket.display()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // From here on the user cannot replace the socket. A socket that was replaced before is detected below.
    server.make_dir(dir, 0, user.gid, 0o755)?;
    let mut agent = loop {
        match connect(&server.real(socket)) {
            Ok(agent) => break agent,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let peer = getsockopt(&agent, PeerCredentials)
        .context("failed to determine the peer of the agent's socket")?;
    if u32::try_from(peer.pid()).ok() != Some(main_pid) || peer.uid() != user.uid {
        bail!(
            "process {1} of uid {2} answers at {0}, not the agent (process {main_pid} of {3}); the key was not sent",
            socket.display(),
            peer.pid(),
            peer.uid(),
            user.name,
        );
    }
    require_untraceable(server, main_pid)?;
    for key_file in key_files {
        let text = Zeroizing::new(
            server
                .read(key_file)?
                .ok_or_else(|| anyhow!("{} is missing", key_file.display()))?,
        );
        let key = PrivateKey::from_openssh(text.as_slice())
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{} is not a private key", key_file.display()))?;
        let answer = exchange(&mut agent, &add_identity(&key)?)?;
        if answer.first() != Some(&SUCCESS) {
            bail!("the agent refused the key");
        }
    }
    Ok(())
}

fn require_untraceable(server: &Server, pid: u32) -> Result<()> {
    let proc = Path::new("/proc").join(pid.to_string());
    let program = server
        .read_link(&proc.join("exe"))?
        .ok_or_else(|| anyhow!("the agent exited"))?;
    let expected = server.which("ssh-agent");
    let expected = match &expected {
        Some(path) => server.link_target(path)?.or_else(|| expected.clone()),
        None => None,
    };
    if expected.as_deref() != Some(&program) {
        bail!(
            "process {pid} runs {}, not ssh-agent; the key was not sent",
            program.display()
        );
    }
    let status = server.read_text(&proc.join("status"))?.unwrap_or_default();
    let numbers = |name: &str| -> Vec<u32> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| {
                rest.split_whitespace()
                    .filter_map(|n| n.parse().ok())
                    .collect()
            })
            .unwrap_or_default()
    };
    if numbers("TracerPid:") != [0] {
        bail!("process {pid} is being traced; the key was not sent");
    }
    let setgid = server
        .stat(&program)?
        .is_some_and(|stat| stat.mode & 0o2000 != 0);
    if setgid && (numbers("NoNewPrivs:") != [0] || server.ignores_setgid(&program)?) {
        return Err(anyhow!(
            "ssh-agent was started without its own group, so process {pid} could have been traced; the key was not sent"
        )
        .hint(
            "does a drop-in set NoNewPrivileges or a system call filter? systemctl cat ssh-agent.\\*",
        ));
    }
    // If a process cannot be traced, its files in /proc belong to root (proc_pid(5)).
    if server
        .stat(&proc.join("mem"))?
        .is_some_and(|stat| stat.uid != 0)
    {
        bail!("the user can trace process {pid}; the key was not sent");
    }
    Ok(())
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("failed to connect to the agent at {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn exchange(agent: &mut UnixStream, message: &[u8]) -> Result<Vec<u8>> {
    let failed = "failed to communicate with the agent";
    let mut framed = Zeroizing::new(Vec::with_capacity(message.len() + 4));
    framed.extend(u32::try_from(message.len())?.to_be_bytes());
    framed.extend(message);
    agent.write_all(&framed).context(failed)?;
    let mut length = [0; 4];
    agent.read_exact(&mut length).context(failed)?;
    let length = u32::from_be_bytes(length) as usize;
    // OpenSSH's own limit for a message (AGENT_MAX_LEN, ssh-agent.c).
    if length == 0 || length > 256 * 1024 {
        bail!("{failed}: a response of {length} bytes");
    }
    let mut answer = vec![0; length];
    agent.read_exact(&mut answer).context(failed)?;
    Ok(answer)
}

fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    // Keys and comments are far below 4 GiB.
    message.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(bytes);
}

fn add_identity(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>> {
    // Allocated at once: a growing buffer would leave copies of the key in memory.
    let mut message = Zeroizing::new(Vec::with_capacity(4096 + key.comment().len()));
    message.push(ADD_IDENTITY);
    match key.key_data() {
        KeypairData::Ed25519(pair) => {
            put(&mut message, b"ssh-ed25519");
            put(&mut message, pair.public.as_ref());
            put(&mut message, &*Zeroizing::new(pair.to_bytes()));
        }
        KeypairData::Rsa(pair) => {
            put(&mut message, b"ssh-rsa");
            let (public, private) = (&pair.public, &pair.private);
            let (p, q) = (&private.p, &private.q);
            for number in [&public.n, &public.e, &private.d, &private.iqmp, p, q] {
                put(&mut message, number.as_bytes());
            }
        }
        _ => bail!("the deploy key is neither an ed25519 nor an RSA key"),
    }
    put(&mut message, key.comment().as_bytes());
    Ok(message)
}

fn parse_keys(answer: &[u8]) -> Result<Vec<AgentKey>> {
    let broken = || anyhow!("invalid response from the agent");
    match answer.first() {
        Some(&IDENTITIES_ANSWER) => {}
        Some(&FAILURE) => bail!("the agent refused to list its keys"),
        _ => return Err(broken()),
    }
    let mut rest = &answer[1..];
    let mut take = |count: usize| -> Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(count).ok_or_else(broken)?;
        rest = left;
        Ok(taken)
    };
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_usize, |n, b| (n << 8) | usize::from(*b))
    };
    let count = number(take(4)?);
    let mut keys = Vec::new();
    for _ in 0..count {
        let length = number(take(4)?);
        let blob = take(length)?;
        let public = PublicKey::from_bytes(blob).map_err(|_| broken())?;
        let length = number(take(4)?);
        let comment = String::from_utf8_lossy(take(length)?).into_owned();
        keys.push(AgentKey {
            fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
            public: public.to_openssh().map_err(|_| broken())?,
            comment,
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_responses_are_parsed_and_others_refused() -> Result<()> {
        assert_eq!(parse_keys(&[IDENTITIES_ANSWER, 0, 0, 0, 0])?, []);
        for bad in [
            &[][..],
            &[FAILURE],
            &[SUCCESS],
            &[IDENTITIES_ANSWER],
            &[IDENTITIES_ANSWER, 0, 0, 0, 1],
            &[IDENTITIES_ANSWER, 0, 0, 0, 1, 255, 255, 255, 255],
        ] {
            assert!(parse_keys(bad).is_err(), "{bad:?}");
        }
        Ok(())
    }

    #[test]
    fn a_real_agent_accepts_the_key() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("s");
        let mut agent = std::process::Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let result = (|| -> Result<()> {
            for _ in 0..100 {
                if socket.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let server = Server::real();
            let ed25519 =
                PrivateKey::random(&mut ssh_key::rand_core::OsRng, ssh_key::Algorithm::Ed25519)
                    .map_err(anyhow::Error::msg)?;
            let rsa = server.generate_rsa_key(&dir.path().join("generated"), "any")?;
            assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "only the socket");
            let mut added = Vec::new();
            for mut key in [ed25519, rsa] {
                key.set_comment("pullpray todo@web");
                let mut stream = connect(&socket)?;
                let peer = getsockopt(&stream, PeerCredentials)?;
                assert_eq!(
                    u32::try_from(peer.pid())?,
                    agent.id(),
                    "with -D the agent does not fork"
                );
                assert_eq!(exchange(&mut stream, &add_identity(&key)?)?, [SUCCESS]);
                added.push(AgentKey {
                    fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                    public: PublicKey::from(key.public_key().key_data().clone())
                        .to_openssh()
                        .map_err(anyhow::Error::msg)?,
                    comment: "pullpray todo@web".into(),
                });
                assert_eq!(server.agent_keys(&socket)?, added);
            }
            Ok(())
        })();
        agent.kill()?;
        agent.wait()?;
        result
    }
}

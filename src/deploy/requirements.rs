//! What pip reads of requirements files: which other files they include, and whether they install something by its path.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};

/// More files than any project includes.
const MOST: usize = 200;

/// The lines, with continuations joined and without comments (pip, Requirements File Format).
fn lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let code = joined.lines().map(|line| match line.find(" #") {
        Some(at) => line.get(..at).unwrap_or_default().trim().to_owned(),
        None => line.trim().to_owned(),
    });
    code.filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The files that these requirements name with -r and -c, as they are written there.
fn includes(requirements: &[u8]) -> Vec<String> {
    let text = decode(requirements);
    let named = |line: &str| {
        ["--requirement", "--constraint", "-r", "-c"]
            .iter()
            .find_map(|option| {
                let rest = line.strip_prefix(option)?;
                let long = option.starts_with("--");
                let value = rest.trim_start_matches(['=', ' ', '\t']);
                (!long || value != rest).then(|| value.trim().to_owned())
            })
    };
    lines(&text)
        .iter()
        .filter_map(|line| named(line))
        .filter(|path| !path.is_empty() && !path.contains("://"))
        .collect()
}

/// UTF-16 with a byte order mark too, as PowerShell writes it and pip reads it.
fn decode(bytes: &[u8]) -> String {
    let wide = |make: fn([u8; 2]) -> u16| -> String {
        let pairs = bytes.as_chunks::<2>().0.iter().map(|pair| make(*pair));
        String::from_utf16_lossy(&pairs.collect::<Vec<u16>>())
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.trim_start_matches('\u{feff}').to_owned()
}

/// `path` without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// These requirements and every file that they include, directly or not, with its content. A missing one has none:
/// pip names it.
pub(super) fn closure(
    file: &Path,
    read: &dyn Fn(&Path) -> Result<Vec<u8>>,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![file.to_owned()];
    while let Some(path) = queue.pop() {
        if found.contains_key(&path) {
            continue;
        }
        if found.len() >= MOST {
            bail!("{} includes more than {MOST} files", file.display());
        }
        let content = read(&path)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        queue.extend(includes(&content).iter().map(|it| plain(&dir.join(it))));
        found.insert(path, content);
    }
    Ok(found)
}

/// Whether requirements name something by its path: `-e .`, `./lib`, `name @ file:lib`.
pub(super) fn installs_a_path(requirements: &[u8]) -> bool {
    lines(&decode(requirements)).iter().any(|line| {
        let word = line.split([' ', ';', '[']).next().unwrap_or_default();
        let path = word == "." || word.contains('/') && !word.contains("://");
        ["-e", "--editable"].iter().any(|o| line.starts_with(o))
            || line.contains("file:")
            || path && !word.starts_with('-')
    })
}

/// The line (from 1) that has pip clone a repository over ssh.
pub(super) fn over_ssh(requirements: &[u8]) -> Option<usize> {
    let text = decode(requirements);
    let clones = |line: &str| {
        let code = line.split(" #").next().unwrap_or_default();
        !code.trim_start().starts_with('#')
            && (code.contains("+ssh://") || code.contains("git+git@"))
    };
    text.lines().position(clones).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_installs_itself_is_recognized() {
        for text in [
            "-e .",
            "django\n.\n",
            "./lib",
            "lib/x",
            "-e git+https://x/y",
            "x @ file:lib",
            ".[web]",
        ] {
            assert!(installs_a_path(text.as_bytes()), "{text}");
        }
        for text in [
            "django==4",
            "-r requirements/base.txt",
            "# -e .",
            "x @ git+https://h/y",
            "--index-url https://h/y",
        ] {
            assert!(!installs_a_path(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_clone_over_ssh_is_found_with_its_line() {
        for (text, line) in [
            ("django\nlib @ git+ssh://git@h/x\n", Some(2)),
            ("-e git+git@github.com:acme/x.git\n", Some(1)),
            ("# git+ssh://h/x\ndjango # git+ssh://h/x\n", None),
            ("x @ git+https://h/y\n", None),
        ] {
            assert_eq!(over_ssh(text.as_bytes()), line, "{text}");
        }
    }

    #[test]
    fn includes_are_followed_wherever_they_are() -> Result<()> {
        let files = BTreeMap::from([
            (
                "requirements.txt",
                "-r backend/base.txt # all\n-c https://h/x.txt\ndjango==4 \\\n    --hash=sha256:aa\n",
            ),
            (
                "backend/base.txt",
                "--requirement=../deep/more.in\n-cpins\n-r base.txt\n",
            ),
            ("deep/more.in", "# -r no.txt\nx # -r no.txt\n"),
            ("backend/pins", "y==1"),
        ]);
        let read = |path: &Path| {
            let text = files.get(path.to_str().unwrap_or_default());
            Ok(text.map_or_else(Vec::new, |text| text.as_bytes().to_vec()))
        };
        let found = closure(Path::new("requirements.txt"), &read)?;
        let found: Vec<_> = found.keys().filter_map(|path| path.to_str()).collect();
        assert_eq!(
            found,
            [
                "backend/base.txt",
                "backend/pins",
                "deep/more.in",
                "requirements.txt"
            ]
        );
        // Written by PowerShell.
        let wide: Vec<u8> = "\u{feff}-r a.txt\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(includes(&wide), ["a.txt"]);
        Ok(())
    }
}

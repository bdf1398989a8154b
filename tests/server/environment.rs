//! The deploy script gets the same environment from the environment file as the service gets from systemd.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

/// A file and the variables that systemd reads from it; `None` if systemd refuses the file.
type Case = (
    &'static [u8],
    Option<&'static [(&'static str, &'static str)]>,
);

const CASES: &[Case] = &[
    // Plain values.
    (b"A=1\n", Some(&[("A", "1")])),
    (b"A=1", Some(&[("A", "1")])),
    (b"", Some(&[])),
    (b"\n\n  \n\t\nA=1\n\n", Some(&[("A", "1")])),
    (b"A=\nB=2\n", Some(&[("A", ""), ("B", "2")])),
    (b"A=", Some(&[("A", "")])),
    (b"A=   \nB=2\n", Some(&[("A", ""), ("B", "2")])),
    (b"A=a=b==c\n", Some(&[("A", "a=b==c")])),
    (
        b"A=x#y ;z # not a comment\n",
        Some(&[("A", "x#y ;z # not a comment")]),
    ),
    (
        b"A=$HOME ${B} $(id) `id` %h %%\n",
        Some(&[("A", "$HOME ${B} $(id) `id` %h %%")]),
    ),
    (
        b"DATABASE_URL=postgres://ann:p%40ss@db.example:5432/todo?sslmode=require\n",
        Some(&[(
            "DATABASE_URL",
            "postgres://ann:p%40ss@db.example:5432/todo?sslmode=require",
        )]),
    ),
    (b"A=1\nA=2\nB=x\nA=3\n", Some(&[("A", "3"), ("B", "x")])),
    (
        b"a=lower\n_A=1\nA1_b=2\n",
        Some(&[("a", "lower"), ("_A", "1"), ("A1_b", "2")]),
    ),
    (
        "A=grün ☃ 🚀\nB='日本'\n".as_bytes(),
        Some(&[("A", "grün ☃ 🚀"), ("B", "日本")]),
    ),
    (
        "A=x\u{a0}\nB=\u{2003}y\n".as_bytes(),
        Some(&[("A", "x\u{a0}"), ("B", "\u{2003}y")]),
    ),
    (
        b"A=a\x07b\x1b[31m\x7f\nB=\x0b\x0c\n",
        Some(&[("A", "a\x07b\x1b[31m\x7f"), ("B", "\x0b\x0c")]),
    ),
    // White space.
    (b"  A=1\n\tB=2\n", Some(&[("A", "1"), ("B", "2")])),
    (b"A = 1\nB\t=\t2\n", Some(&[("A", "1"), ("B", "2")])),
    (
        b"A=two words  \t \nB=x\n",
        Some(&[("A", "two words"), ("B", "x")]),
    ),
    (b"A=a \t b\n", Some(&[("A", "a \t b")])),
    (
        b"A=1\r\nB='2'\r\nC=\r\n",
        Some(&[("A", "1"), ("B", "2"), ("C", "")]),
    ),
    (b"A=1\rB=2\r", Some(&[("A", "1"), ("B", "2")])),
    // Invalid names, and lines that are no assignments.
    (b"export A=1\nB=2\n", Some(&[("B", "2")])),
    (
        b"1A=1\nA-B=2\nA.B=3\nA B=4\n=5\n==6\nC=7\n",
        Some(&[("C", "7")]),
    ),
    ("Ä=1\n\u{feff}A=1\nB=2\n".as_bytes(), Some(&[("B", "2")])),
    ("\u{feff}A=1\nB=2\n".as_bytes(), Some(&[("B", "2")])),
    (
        b"nonsense\nA=1\nmore nonsense\n[Section]\nB=2\nlast",
        Some(&[("A", "1"), ("B", "2")]),
    ),
    (b"A+=1\n\"B\"=2\n'C'=3\nD=4\n", Some(&[("D", "4")])),
    (b"A\\\nB=1\nC=2\n", Some(&[("B", "1"), ("C", "2")])),
    // Comments.
    (b"# A=1\n;B=2\n  # C=3\n\t;D=4\nE=5\n", Some(&[("E", "5")])),
    (b"#\n;\nA=1\n# the end", Some(&[("A", "1")])),
    (b"# C:\\path\nA=1\n", Some(&[("A", "1")])),
    // Single quotes.
    (
        b"A='a b '\nB='it''s'\nC=''\n",
        Some(&[("A", "a b "), ("B", "its"), ("C", "")]),
    ),
    (b"A='\\n \\\\ \\' B=1\n", Some(&[("A", "\\n \\\\ \\B=1")])),
    (
        b"A='two\nlines'\nB='$X \"y\" `z`'\n",
        Some(&[("A", "two\nlines"), ("B", "$X \"y\" `z`")]),
    ),
    (
        b"A='never closed\nB=2\n",
        Some(&[("A", "never closed\nB=2\n")]),
    ),
    (b"A='x'  y  'z'\n", Some(&[("A", "xy  'z'")])),
    (b"A='x'  \nB=  'y' \n", Some(&[("A", "x"), ("B", "y")])),
    (
        b"A='# no comment'\nB='x' # y\n",
        Some(&[("A", "# no comment"), ("B", "x# y")]),
    ),
    (b"A='x\r\ny'\n", Some(&[("A", "x\r\ny")])),
    // Double quotes.
    (
        b"A=\"a b \"\nB=\"\"\nC=\"x\"\"y\"\n",
        Some(&[("A", "a b "), ("B", ""), ("C", "xy")]),
    ),
    (
        b"A=\"q\\\"q b\\\\b d\\$d g\\`g\"\n",
        Some(&[("A", "q\"q b\\b d$d g`g")]),
    ),
    (
        b"A=\"\\n \\t \\x \\' \\#\"\n",
        Some(&[("A", "\\n \\t \\x \\' \\#")]),
    ),
    (
        b"A=\"two\\\nlines\"\nB=\"one\ntwo\"\n",
        Some(&[("A", "twolines"), ("B", "one\ntwo")]),
    ),
    (b"A=\"x\\\r\ny\"\n", Some(&[("A", "x\\\r\ny")])),
    (
        b"A=\"never closed \\\"\nB=2",
        Some(&[("A", "never closed \"\nB=2")]),
    ),
    (b"A=\"ends in\\", Some(&[("A", "ends in")])),
    (b"A=\"$HOME ${B} 'c'\"\n", Some(&[("A", "$HOME ${B} 'c'")])),
    (b"A=\"x\"'y'z\"w\"\n", Some(&[("A", "xyz\"w\"")])),
    // Quotes inside a value are ordinary characters.
    (
        b"A=it's\nB=say \"hi\"\n",
        Some(&[("A", "it's"), ("B", "say \"hi\"")]),
    ),
    // Backslashes outside quotes.
    (
        b"A=a\\ b\\\\c\\n\\\"\\'\\#\n",
        Some(&[("A", "a b\\cn\"'#")]),
    ),
    (b"A=\\ x\\ \nB=\\\\\n", Some(&[("A", " x "), ("B", "\\")])),
    (b"A=1\\\n2\\\n3\nB=4\n", Some(&[("A", "123"), ("B", "4")])),
    (b"A=\\\n  x\nB=4\n", Some(&[("A", "  x"), ("B", "4")])),
    (b"A=a  \\\n\nB=4\n", Some(&[("A", "a  "), ("B", "4")])),
    (b"A=a  \\\n  \nB=4\n", Some(&[("A", "a  "), ("B", "4")])),
    (b"A=a \\\r\nB=4\n", Some(&[("A", "a "), ("B", "4")])),
    (b"A=a  \\", Some(&[("A", "a  ")])),
    (b"A=\\", Some(&[("A", "")])),
    (b"A='x'\\\n'y'\n", Some(&[("A", "x'y'")])),
    (b"A=\\'x y\\' \n", Some(&[("A", "'x y'")])),
    // Comments need not be UTF-8, and neither need lines that assign nothing.
    (b"# gr\xfcn\nA=1\n\xfc\n", Some(&[("A", "1")])),
    // Not UTF-8: the service does not start, and neither does the deployment.
    (b"A=gr\xfcn\n", None),
    (b"A=1\nB='\xff\xfe'\nC=2\n", None),
    (b"\xc4=1\nA=2\n", None),
    (b"A-B=\xff\nA=2\n", None),
    (b"A=\xef\xbf\xbe\n", None),
    (b"A=\xef\xb7\x90\n", None),
    (b"A=1\nB=\0\n", None),
];

/// Cases that systemd 252 (Debian 12) reads differently from 254 and later.
const BEFORE_254: &[Case] = &[
    (b"# C:\\\nA=1\nB=2\n", Some(&[("B", "2")])),
    (b";\\\n\nA=1\n", Some(&[("A", "1")])),
    (b"# x \\\r\nA=1\n", Some(&[("A", "1")])),
];

const SINCE_254: &[Case] = &[
    (b"# C:\\\nA=1\nB=2\n", Some(&[("A", "1"), ("B", "2")])),
    (b";\\\n\nA=1\n", Some(&[("A", "1")])),
    (b"# x \\\r\nA=1\n", Some(&[("A", "1")])),
];

#[test]
fn bookworm_s_service_and_deploy_script_get_the_same_environment() -> Result<()> {
    get_the_same_environment(Release::Bookworm)
}

#[test]
fn trixie_s_service_and_deploy_script_get_the_same_environment() -> Result<()> {
    get_the_same_environment(Release::Trixie)
}

fn get_the_same_environment(release: Release) -> Result<()> {
    let lab = Lab::new("env")?;
    let Todo {
        web,
        repo,
        host: _host,
    } = Todo::live(&lab, release)?;
    web.write(
        "/opt/git_pollers/todo/deploy.sh",
        "#!/bin/sh\n/bin/cat /proc/$$/environ >\"$PULLPRAY_SHARED/environ\"\nexit 3\n",
    )?;
    repo.push("version two")?;
    let all = match release {
        Release::Bookworm => [CASES, BEFORE_254].concat(),
        Release::Trixie => [CASES, SINCE_254].concat(),
    };
    let cases = tempfile::tempdir()?;
    for (number, (file, _)) in all.iter().enumerate() {
        std::fs::write(cases.path().join(number.to_string()), file)?;
    }
    let path = cases.path().to_str().context("a path that is no text")?;
    web.copy(path, "/run/cases")?;

    let mut wrong = String::new();
    let numbers: Vec<usize> = (0..all.len()).collect();
    for some in numbers.chunks(16) {
        let seen = seen(&web, some)?;
        ensure!(seen.len() == some.len(), "{seen:?}");
        for (number, [unit, script]) in some.iter().zip(seen) {
            let (file, expected) = all[*number];
            let expected = expected.map(|pairs| {
                pairs
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect()
            });
            if unit != expected || script != expected {
                wrong.push_str(&format!(
                    "\n\"{}\"\n  expected  {expected:?}\n  unit      {unit:?}\n  script    {script:?}",
                    file.escape_ascii()
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

type Seen = Option<BTreeMap<String, String>>;

/// For each case, the environment of a unit and of the deploy script.
fn seen(web: &WebServer, cases: &[usize]) -> Result<Vec<[Seen; 2]>> {
    let mut words = vec!["todo".to_owned()];
    words.extend(cases.iter().map(|number| format!("/run/cases/{number}")));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let out = web.python_as("root", "environment.py", &words)?.ok()?;
    out.stdout
        .lines()
        .map(|line| serde_json::from_str(line).context(line.to_owned()))
        .collect()
}

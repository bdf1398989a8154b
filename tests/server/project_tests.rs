//! The project's own tests, before anything live is touched.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo};

/// A test of the project with these lines.
fn test_of(lines: &str) -> String {
    format!(
        "import sys\nfrom django.test import TestCase\nfrom items.models import Item\n\n\nclass Tests(TestCase):\n    def test_it(self):\n        Item.objects.create(title='of a test')\n{lines}"
    )
}

#[test]
fn a_commit_whose_tests_fail_or_exceed_a_limit_never_goes_live() -> Result<()> {
    let lab = Lab::new("tests")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Bookworm)?;
    web.run("sed -i '/^# tests = /d; /^tests_/d' /etc/pullpray/todo.toml; printf 'tests = \"python manage.py test\"\\ntests_memory = 300\\ntests_timeout = 20\\n' >>/etc/pullpray/todo.toml")?
        .ok()?;
    let data = "python3 -c 'import glob, sqlite3; f, = glob.glob(\"/var/www/projects/todo/shared/*.sqlite3\"); print(*sqlite3.connect(f).execute(\"select count(*) from items_item\").fetchone())'";
    let before = web.run(data)?.ok()?.stdout.clone();
    for (lines, why, output) in [
        (
            "        self.assertEqual(1, 2)\n",
            "the tests failed: python manage.py test exited with status 1",
            "1 != 2",
        ),
        (
            "        bytearray(600 << 20)\n",
            "the tests failed: python manage.py test exited with status 1",
            "MemoryError",
        ),
        (
            "        while True: pass\n",
            "the tests failed: python manage.py test did not end within 20 s and was stopped; the time limit is tests_timeout in /etc/pullpray/todo.toml",
            "",
        ),
    ] {
        repo.commit(
            "Fail",
            &[
                ("items/tests.py", &test_of(lines)),
                ("VERSION", "untested\n"),
            ],
        )?;
        web.run("pullpray poll todo")?
            .exits(1)?
            .says(why)?
            .says(output)?;
        ensure!(web.page("/")?.shows("version one"));
    }
    ensure!(web.run(data)?.ok()?.stdout == before);
    // In the environment of the release, and in its directory.
    let venv = "        self.assertIn('/venvs/', sys.prefix)\n        self.assertTrue(open('VERSION').read())\n";
    repo.commit(
        "Pass",
        &[
            ("items/tests.py", &test_of(venv)),
            ("VERSION", "version two\n"),
        ],
    )?;
    web.run("pullpray poll todo -v")?
        .ok()?
        .says("running the tests: python manage.py test")?
        .says("\"Pass\" live after")?;
    ensure!(web.page("/")?.shows("version two"));
    ensure!(web.run(data)?.ok()?.stdout == before);
    web.run("pullpray logs todo --deploy")?
        .ok()?
        .says("Ran 1 test")?;
    // What they left behind ends with them.
    web.run("sed -i 's/^tests = .*/tests = \"sleep 1000 \\& python manage.py test\"/' /etc/pullpray/todo.toml")?
        .ok()?;
    repo.push("version three")?;
    web.run("pullpray poll todo && ! pgrep -u gunicorn -x sleep")?
        .ok()?
        .says("live after")?;
    ensure!(web.page("/")?.shows("version three"));
    Ok(())
}

//! Where on a server nothing of an app belongs, judged by the path alone (hier(7), FHS 3.0).

use std::path::Path;

/// The system's, other people's, or hidden from the app by its unit (`ProtectHome=`, `PrivateTmp=`): at and
/// below them.
const CLOSED: [&str; 24] = [
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/opt/git_pollers",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/snap",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/dpkg",
    "/var/lib/pullpray",
    "/var/lib/systemd",
    "/var",
];

/// Directories of many: one below them may be an app's, they themselves never.
const OF_MANY: [&str; 12] = [
    "/",
    "/media",
    "/mnt",
    "/opt",
    "/srv",
    "/var/lib",
    "/var/local",
    "/var/opt",
    "/var/www",
    "/var/www/projects",
    "/www",
    "/www/static",
];

/// Where below `/var` an app may be.
const OPEN: [&str; 4] = ["/var/lib", "/var/local", "/var/opt", "/var/www"];

/// The system directory that a path is, or lies in.
#[must_use]
pub fn closed(path: &Path) -> Option<&'static str> {
    let open = OPEN.iter().any(|dir| path.starts_with(dir));
    CLOSED
        .into_iter()
        .find(|dir| path.starts_with(dir) && !(open && *dir == "/var"))
}

/// Why a path cannot be a directory of an app.
#[must_use]
pub fn refused(path: &Path) -> Option<String> {
    let at = path.display();
    if let Some(dir) = closed(path) {
        return Some(if Path::new(dir) == path {
            format!("{at} is a system directory")
        } else {
            format!("{at} is below {dir}, where no app belongs")
        });
    }
    let many = OF_MANY.iter().any(|dir| path == Path::new(dir));
    many.then(|| {
        format!("{at} is there for many: one of its directories can be the app's, not all of it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_directories_are_refused_and_what_is_made_for_apps_is_not() {
        for path in [
            "/",
            "/etc",
            "/etc/x",
            "/usr/local/lib/x",
            "/var",
            "/var/log/x",
            "/var/lib",
            "/var/www",
            "/var/lib/pullpray/x",
            "/srv",
            "/opt/git_pollers/todo",
            "/home/ann/todo",
            "/lib64/x",
        ] {
            assert!(refused(Path::new(path)).is_some(), "{path}");
        }
        for path in [
            "/var/www/projects/todo",
            "/www/static/todo",
            "/srv/todo",
            "/opt/todo",
            "/data",
            "/var/lib/todo",
            "/library/todo",
            "/mnt/disk/todo",
        ] {
            assert_eq!(refused(Path::new(path)), None, "{path}");
        }
    }
}

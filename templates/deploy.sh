#!/bin/sh
# Deploy script of the app {{ app.name }}. Edit it as you like: once edited, it stays as it is, and `pullpray doctor`
# shows how it differs from pullpray's.
#
# `pullpray poll {{ app.name }}` runs it as {{ app.user }} in the new release's directory for each new
# commit, before it changes anything live. If the script exits non-zero, the deployment fails and
# the current release stays live. Its output goes to a log in /var/lib/pullpray/{{ app.name }}/log.
#
# It runs once for each phase that the next line lists; without that line, once, without an argument:
# phases: build migrate
#
#   build      environment, check, static files: nothing that the live release shares
#   migrate    the database, once the release is known to be complete
#
#   PULLPRAY_APP           {{ app.name }}
#   PULLPRAY_COMMIT        the commit hash, 40 hexadecimal digits
#   PULLPRAY_RELEASE       directory of the new release
#   PULLPRAY_PROJECT       the same, or the project's directory in it (subdir in the settings); the
#                          script starts there
#   PULLPRAY_SHARED        {{ shared }}: persistent files, shared between releases
#   PULLPRAY_VENV          the virtual environment; .venv in the release links to it
#   PULLPRAY_VENV_STATE    "new": create it and install into it; "ready": an earlier release with
#                          the same lock file and Python filled it; use it unchanged
#   PULLPRAY_DEPENDENCIES  uv.lock, pylock.toml, requirements.txt, poetry.lock, pdm.lock, Pipfile.lock
#                          or pyproject.toml; empty if the project has no packaging file
#   PULLPRAY_PYTHON        the interpreter to create it with
#   PULLPRAY_UV            path of uv; empty if it is not installed
#   PULLPRAY_TOOL          path of the program that reads the lock file
#   UV_PYTHON              the environment's interpreter, which .python-version would otherwise replace
#   STATIC_ROOT            where collectstatic writes; published once the release is live, as is
#                          another STATIC_ROOT of the project in the release
#   DJANGO_SETTINGS_MODULE only if the app's settings set it
#   and every variable from /etc/pullpray/{{ app.name }}.env
#
# Lines of its output that begin with "note: " are in the poll's report too.
# Standard input is empty and there is no terminal. Processes that the script leaves running are
# killed when it exits.
set -eu
umask 0007
cd "$PULLPRAY_PROJECT"
python=$PULLPRAY_VENV/bin/python

if [ "$1" = migrate ]; then
    [ -e manage.py ] || exit 0
    exec "$python" manage.py migrate --noinput
fi

# uv does not read the configuration of pip, for example a company's index: where only pip has one, pip installs.
installer=pip
if [ -n "$PULLPRAY_UV" ]; then
    installer=uv
    for file in /etc/pip.conf /etc/xdg/pip/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
        [ ! -e "$file" ] || installer=pip
    done
    ! env | grep -q '^PIP_' || installer=pip
    [ ! -e /etc/uv/uv.toml ] && [ ! -e "$HOME/.config/uv/uv.toml" ] || installer=uv
    ! env | grep -Eq '^UV_(DEFAULT_INDEX|INDEX|EXTRA_INDEX|FIND_LINKS|CONFIG_FILE|NO_INDEX|OFFLINE)' || installer=uv
fi

install() {
    echo "installing with $installer: $*"
    if [ $installer = uv ]; then
        "$PULLPRAY_UV" pip install --quiet --python "$python" "$@"
    else
        "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
    fi
}

if [ "$PULLPRAY_VENV_STATE" = new ]; then
    case $PULLPRAY_DEPENDENCIES in
    "")
        echo "no dependency file: using Django and gunicorn from the system packages"
        "$PULLPRAY_PYTHON" -m venv --without-pip --system-site-packages "$PULLPRAY_VENV"
        ;;
    *)
        if [ $installer = uv ]; then
            "$PULLPRAY_UV" venv --quiet --python "$PULLPRAY_PYTHON" "$PULLPRAY_VENV"
        else
            "$PULLPRAY_PYTHON" -m venv "$PULLPRAY_VENV"
        fi
        ;;
    esac
    [ -z "$PULLPRAY_TOOL" ] || echo "installing from $PULLPRAY_DEPENDENCIES with $PULLPRAY_TOOL"
    case $PULLPRAY_DEPENDENCIES in
    uv.lock)
        VIRTUAL_ENV=$PULLPRAY_VENV "$PULLPRAY_UV" sync --quiet --active --frozen --no-dev --no-install-project
        ;;
    pylock.toml) "$PULLPRAY_UV" pip install --quiet --python "$python" -r pylock.toml ;;
    *.txt) install -r "$PULLPRAY_DEPENDENCIES" ;;
    poetry.lock)
        VIRTUAL_ENV=$PULLPRAY_VENV "$PULLPRAY_TOOL" install --quiet --no-interaction --only main --no-root
        ;;
    pdm.lock)
        PDM_IGNORE_SAVED_PYTHON=1 VIRTUAL_ENV=$PULLPRAY_VENV "$PULLPRAY_TOOL" sync --quiet --prod --no-self
        ;;
    Pipfile.lock) VIRTUAL_ENV=$PULLPRAY_VENV "$PULLPRAY_TOOL" sync ;;
    pyproject.toml)
        # Dependencies only: the project's own code runs from the release.
        "$python" -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' >"$PULLPRAY_VENV/dependencies.txt"
        install -r "$PULLPRAY_VENV/dependencies.txt"
        ;;
    esac
    if ! "$python" -c 'import gunicorn' 2>/dev/null; then
        if [ -z "$PULLPRAY_DEPENDENCIES" ]; then
            echo "gunicorn is not installed: apt install gunicorn, or give the project a requirements.txt" >&2
            exit 1
        fi
        install gunicorn
    fi
fi

# check and collectstatic in one process: starting Django is most of what they take. What the project's manage.py does
# before its command is done as well. A project without manage.py has neither.
[ ! -e manage.py ] || "$python" -c '
import os, runpy, sys
sys.path[0] = os.getcwd()
sys.argv = ["manage.py", "check"]
try:
    runpy.run_path("manage.py", run_name="__main__")
except SystemExit as end:
    if end.code:
        raise
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
if not apps.is_installed("django.contrib.staticfiles"):
    sys.exit()
from django.contrib.staticfiles.storage import StaticFilesStorage, staticfiles_storage
root = os.fspath(settings.STATIC_ROOT or "")
if not root and isinstance(staticfiles_storage, StaticFilesStorage):
    print("note: the project sets no STATIC_ROOT, so static files are not collected")
    sys.exit()
# A storage such as that of S3 needs none.
if root and not (root + "/").startswith(os.environ["PULLPRAY_RELEASE"] + "/"):
    print(f"note: the STATIC_ROOT of the project, {root}, is outside the release: pullpray does not publish from there")
call_command("collectstatic", interactive=False, verbosity=0)
'

# Compile bytecode now: the running app cannot write here.
"$python" -m compileall -q . >/dev/null || true

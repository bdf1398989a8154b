#!/bin/sh
# The deploy script of the app {{ app.name }}: yours to edit, pullpray writes it once.
#
# `pullpray poll {{ app.name }}` runs it for each new commit, as {{ app.user }}, in the new release, before
# anything that is live is touched. If it ends with anything but 0 the deployment has failed, and
# the release before stays live. Its output goes to a log in /var/lib/pullpray/{{ app.name }}/log.
#
#   PULLPRAY_APP           {{ app.name }}
#   PULLPRAY_COMMIT        the commit, 40 hexadecimal digits
#   PULLPRAY_RELEASE       the new release's directory; the script begins there
#   PULLPRAY_SHARED        {{ shared }}: what outlives releases
#   PULLPRAY_VENV          the virtual environment; .venv in the release leads there
#   PULLPRAY_VENV_STATE    "new": make and fill it; "ready": it was filled by an earlier release
#                          with the same lock file and the same Python, and is to be used as it is
#   PULLPRAY_DEPENDENCIES  uv.lock, requirements.txt or pyproject.toml; empty if there is none
#   PULLPRAY_PYTHON        the interpreter to make it with
#   PULLPRAY_UV            uv, if this server has it; else empty
#   STATIC_ROOT            where collectstatic is to write; published once the release is live
#   DJANGO_SETTINGS_MODULE if the settings name it
#   and everything that /etc/pullpray/{{ app.name }}.env sets
#
# Standard input is empty, there is no terminal, and everything that the script starts is ended
# with it.
set -eu
umask 0007
cd "$PULLPRAY_RELEASE"
python=$PULLPRAY_VENV/bin/python

install() {
    if [ -n "$PULLPRAY_UV" ]; then
        "$PULLPRAY_UV" pip install --quiet --python "$python" "$@"
    else
        "$python" -m pip install --quiet --disable-pip-version-check --no-input "$@"
    fi
}

if [ "$PULLPRAY_VENV_STATE" = new ]; then
    case $PULLPRAY_DEPENDENCIES in
    "")
        echo "no dependency file: using the Django and gunicorn of the system's packages"
        "$PULLPRAY_PYTHON" -m venv --without-pip --system-site-packages "$PULLPRAY_VENV"
        ;;
    *)
        if [ -n "$PULLPRAY_UV" ]; then
            "$PULLPRAY_UV" venv --quiet --python "$PULLPRAY_PYTHON" "$PULLPRAY_VENV"
        else
            "$PULLPRAY_PYTHON" -m venv "$PULLPRAY_VENV"
        fi
        ;;
    esac
    case $PULLPRAY_DEPENDENCIES in
    uv.lock)
        [ -n "$PULLPRAY_UV" ] || { echo "uv.lock needs uv, and this server has none" >&2; exit 1; }
        VIRTUAL_ENV=$PULLPRAY_VENV "$PULLPRAY_UV" sync --quiet --active --frozen --no-dev --no-install-project
        ;;
    requirements.txt) install -r requirements.txt ;;
    pyproject.toml)
        # Only what it depends on: the project's own code is used from the release.
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

"$python" manage.py check
"$python" manage.py migrate --noinput

static=$("$python" manage.py shell --verbosity 0 -c 'from django.conf import settings; print(settings.STATIC_ROOT or "")')
if [ -n "$static" ]; then
    [ "$static" = "$STATIC_ROOT" ] || echo "note: the project's STATIC_ROOT is $static; os.environ[\"STATIC_ROOT\"] would keep it inside the release"
    "$python" manage.py collectstatic --noinput --verbosity 0
else
    echo "note: the project sets no STATIC_ROOT, so static files are not collected"
fi

# Bytecode is written now: the running app may not write here.
"$python" -m compileall -q . >/dev/null || true

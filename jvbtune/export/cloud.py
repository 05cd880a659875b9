"""Instances that are made from a template: cloud-init's user data, and a fragment of a start-up script (GCE, AWS)."""

from __future__ import annotations

from jvbtune.agent.layout import BEGIN_MARK, END_MARK
from jvbtune.export import jvb_conf, sysctl
from jvbtune.export.header import comments, header
from jvbtune.export.settings import is_sysctl, lines_of
from jvbtune.export.text import here_document, literal
from jvbtune.result.model import RunResult

CLOUD_INIT, STARTUP = "jvbtune-cloud-init.yaml", "jvbtune-startup.sh"
SCRIPT = "/usr/local/sbin/jvbtune-startup"

#: Idempotent; replaces a file only if its content differs.
_BODY = """\
set -eu
conf_dir=${JVBTUNE_CONF_DIR:-/etc/jitsi/videobridge}
unit=${JVBTUNE_UNIT:-jitsi-videobridge2}
http=${JVBTUNE_HTTP:-http://127.0.0.1:8080}
changed=""

# Replace $1 by standard input, with the owner and mode of $2, unless it is the same already.
install_file() {
    new=$(mktemp "$1.XXXXXX")
    cat >"$new"
    if cmp -s "$new" "$1"; then
        rm -f "$new"
        return
    fi
    chown --reference="$2" "$new"
    chmod --reference="$2" "$new"
    mv -f "$new" "$1"
    changed=yes
}

# Whether it is known that nobody is on the bridge.
nobody() {
    stats=$(curl -fsS --max-time 5 "$http/colibri/stats") || return 1
    for count in participants conferences; do
        case $stats in *"\\"$count\\":0,"* | *"\\"$count\\":0}"*) ;; *) return 1 ;; esac
    done
}

"""


def script(result: RunResult, pin: bool) -> str:
    """A complete shell script: writes the files, loads the sysctls, and restarts a bridge on which nobody is."""
    text = "#!/bin/sh\n" + header(result, why=_why(result, pin), undo=_undo())
    text += comments(
        [
            "To apply: run it as root at each boot, after the bridge's package is there: as the start-up script of an",
            "instance template (GCE: metadata startup-script; AWS: user data), or as a part of yours. It changes",
            "nothing on a host that has these files, and restarts a running bridge only if nobody is on it.",
        ]
    )
    text += _BODY
    text += here_document("drop-in", sysctl.render(result, pin)[sysctl.FILE_NAME]).replace(
        "cat <<'JVBTUNE_END'", f"install_file /etc/sysctl.d/{sysctl.FILE_NAME} /etc/sysctl.conf <<'JVBTUNE_END'", 1
    )
    text += f"sysctl -q -p /etc/sysctl.d/{sysctl.FILE_NAME}\n"
    text += 'if [ -f "$conf_dir/jvb.conf" ]; then\n'
    text += here_document("included", jvb_conf.render(result, pin)[jvb_conf.FILE_NAME]).replace(
        "cat <<'JVBTUNE_END'",
        f'install_file "$conf_dir/{jvb_conf.FILE_NAME}" "$conf_dir/jvb.conf" <<\'JVBTUNE_END\'',
        1,
    )
    text += (
        f"if ! grep -qF '{BEGIN_MARK}' \"$conf_dir/jvb.conf\"; then\n"
        f"    printf '%s\\n' '{BEGIN_MARK}' 'include \"{jvb_conf.FILE_NAME}\"' '{END_MARK}' >>\"$conf_dir/jvb.conf\"\n"
        "    changed=yes\n"
        "fi\n"
        "else\n"
        '    echo "jvbtune: $conf_dir/jvb.conf is not there: only the sysctls are set" >&2\n'
        "fi\n"
        'if [ -n "$changed" ] && systemctl is-active --quiet "$unit"; then\n'
        "    if nobody; then\n"
        '        systemctl restart "$unit"\n'
        "    else\n"
        '        echo "jvbtune: the new files take effect when $unit restarts: drain it, then restart it" >&2\n'
        "    fi\n"
        "fi\n"
    )
    return text


def render_startup(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}."""
    return {STARTUP: script(result, pin)}


def render_cloud_init(result: RunResult, pin: bool = False) -> dict[str, str]:
    """{file name: text}: user data. The script is run once, at the first boot, after packages are installed."""
    text = "#cloud-config\n" + header(result, why=_why(result, pin), undo=_undo())
    text += comments(
        ["To apply: give it as user data, or merge its keys into yours. It acts at an instance's first boot."]
    )
    text += (
        "write_files:\n"
        f"  - path: {SCRIPT}\n"
        '    owner: "root:root"\n'
        '    permissions: "0755"\n'
        "    content: |\n"
        f"{literal(script(result, pin), 6)}"
        "runcmd:\n"
        f'  - ["{SCRIPT}"]\n'
    )
    return {CLOUD_INIT: text}


def _why(result: RunResult, pin: bool) -> list[str]:
    lines = [f"{line.name} = {line.value}: {line.why}" for line in lines_of(result, pin=pin) if is_sysctl(line.name)]
    return [*lines, *jvb_conf.why(result)]


def _undo() -> list[str]:
    return [
        "take it out of the template, and replace the instances; on one instance: remove the lines between jvbtune's",
        f"marks from jvb.conf, rm {jvb_conf.FILE_NAME} beside it and /etc/sysctl.d/{sysctl.FILE_NAME}, and reboot it",
    ]

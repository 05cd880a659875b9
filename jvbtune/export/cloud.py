"""Instances that are made from a template: cloud-init's user data, and a fragment of a start-up script (GCE, AWS)."""

from __future__ import annotations

from jvbtune.agent.layout import BEGIN_MARK, END_MARK
from jvbtune.agent.settings import RMEM_MAX, UDP_MEM
from jvbtune.export import jvb_conf, sysctl
from jvbtune.export.header import comments, header
from jvbtune.export.settings import is_sysctl, lines_of
from jvbtune.export.text import here_document, literal
from jvbtune.result.model import RunResult

CLOUD_INIT, STARTUP = "jvbtune-cloud-init.yaml", "jvbtune-startup.sh"
SCRIPT = "/usr/local/sbin/jvbtune-startup"

#: Idempotent; replaces a file only if its content differs. No temporary file is left, and a drain is undone.
_BODY = """\
set -eu
conf_dir=${JVBTUNE_CONF_DIR:-/etc/jitsi/videobridge}
unit=${JVBTUNE_UNIT:-jitsi-videobridge2}
http=${JVBTUNE_HTTP:-http://127.0.0.1:8080}
due=${JVBTUNE_DUE:-/run/jvbtune-restart-due} # It is there from a change until the bridge was restarted.
new="" changed="" drained_by_us=""

at_exit() {
    if [ -n "$new" ]; then rm -f "$new"; fi
    if [ -n "$drained_by_us" ]; then post drain/disable || true; fi
}
trap at_exit EXIT
trap 'exit 1' HUP INT TERM

# Replace $1 by the file $new, with owner $2 and mode $3, unless it is the same already.
replace() {
    if cmp -s "$new" "$1"; then
        rm -f "$new"
        return
    fi
    chown "$2" "$new"
    chmod "$3" "$new"
    mv -f "$new" "$1"
    changed=yes
}

# jvb.conf with an include at its end, where it wins; inside the braces if the root has them. Fails if these do not end
# on a line of their own.
with_include() {
    LC_ALL=C awk '
        { line[NR] = $0 }
        /""["]/ { strings = 1 }
        $0 !~ "^[ \\t\\r]*(#|//|$)" { last = NR; if (!first) first = NR }
        END {
            end = NR + 1
            if (line[first] ~ /^(\\357\\273\\277)?[ \\t]*[{]/) {
                if (strings || first == last || line[last] !~ /^[ \\t]*[}][ \\t\\r]*$/) exit 1
                end = last
            }
            for (i = 1; i <= NR + 1; i++) {
                if (i == end) print "BEGIN_MARK\\ninclude \\"INCLUDED\\"\\nEND_MARK"
                if (i <= NR) print line[i]
            }
        }' "$1"
}

get() { curl -fsS --max-time 5 "$http/colibri/$1" | tr -d ' \\n'; }
post() { curl -fsS --max-time 5 -o /dev/null -X POST "$http/colibri/$1"; }

# Prints the drain mode as soon as the bridge reports it: a bridge that starts needs a while. Fails after 90 s.
drain_mode() {
    for _ in $(seq 45); do
        case $(get drain 2>/dev/null) in
            *'"drain":true'*) echo enable && return ;;
            *'"drain":false'*) echo disable && return ;;
        esac
        sleep 2
    done
    return 1
}

# Whether it is known that nobody is on the bridge.
nobody() {
    stats=$(get stats) || return 1
    for count in participants conferences; do
        case $stats in *"\\"$count\\":0,"* | *"\\"$count\\":0}"*) ;; *) return 1 ;; esac
    done
}

# Drain the bridge, and restart it if nobody is on it then. Its drain mode is left as it was found.
restart() {
    found=$(drain_mode) || return 1
    if [ "$found" = disable ]; then
        drained_by_us=yes
        post drain/enable || return 1
    fi
    sleep 6 # A bridge refreshes its statistics every 5 s: these are newer than the drain.
    nobody || return 1
    systemctl restart "$unit" || return 1
    now=$(drain_mode) || return 1
    if [ "$now" != "$found" ]; then post "drain/$found" || return 1; fi
    drained_by_us=""
}

"""
_BODY = _BODY.replace("BEGIN_MARK", BEGIN_MARK).replace("END_MARK", END_MARK).replace("INCLUDED", jvb_conf.FILE_NAME)


def script(result: RunResult, pin: bool) -> str:
    """A complete shell script: writes the files, loads the sysctls, and restarts a bridge on which nobody is."""
    text = "#!/bin/sh\n" + header(result, why=_why(result, pin), undo=_undo())
    text += comments(
        [
            "To apply: run it as root after the bridge's package is there: as the start-up script of an instance",
            "template, or as a part of yours. It changes nothing on a host that has these files. It drains a running",
            "bridge, restarts it only if nobody is on it, and leaves its drain mode as it was found.",
            "GCE runs a startup-script of its metadata at each boot, AWS runs user data at the first boot only. To",
            "run it there at each boot, make it a part of type text/x-shellscript-per-boot (cloud-init 22.1 or newer),",
            "or put it into /var/lib/cloud/scripts/per-boot/ of the image.",
        ]
    )
    return text + _BODY + _drop_in(result, pin) + _included(result, pin) + _RESTART


def larger_of_each(wanted: str) -> str:
    """Shell: ``awk`` that prints the larger of each number of its input and of ``wanted``."""
    each = "for (i in w) if ($i + 0 < w[i] + 0) $i = w[i]"
    return f"awk -v wanted='{wanted}' '{{ split(wanted, w); {each}; $1 = $1; print }}'"


def _drop_in(result: RunResult, pin: bool) -> str:
    path = f"/etc/sysctl.d/{sysctl.FILE_NAME}"
    wanted = {line.name: line.value for line in lines_of(result, pin=pin)}
    text, kept = f"new=$(mktemp {path}.XXXXXX)\n", ""
    if RMEM_MAX in wanted:
        text += (
            f"# {RMEM_MAX} is a cap: a host that has more keeps it.\n"
            f"rmem_max=$(sysctl -n {RMEM_MAX})\n"
            f'if [ "$rmem_max" -lt {wanted[RMEM_MAX]} ]; then rmem_max={wanted[RMEM_MAX]}; fi\n'
        )
        kept += f' -e "s/^{RMEM_MAX} = .*/{RMEM_MAX} = $rmem_max/"'
    if UDP_MEM in wanted:
        text += (
            f"# {UDP_MEM} is never lowered: above it every UDP socket of the host drops packets.\n"
            f"udp_mem=$(sysctl -n {UDP_MEM})\n"
            f'udp_mem=$(echo "$udp_mem" | {larger_of_each(str(wanted[UDP_MEM]))})\n'
        )
        kept += f' -e "s/^{UDP_MEM} = .*/{UDP_MEM} = $udp_mem/"'
    written = f'sed{kept} >"$new"' if kept else 'cat >"$new"'
    text += _to(written, sysctl.render(result, pin)[sysctl.FILE_NAME])
    return text + f"replace {path} root:root 644\nsysctl -q -p {path}\n\n"


def _included(result: RunResult, pin: bool) -> str:
    included = _to('cat >"$new"', jvb_conf.render(result, pin)[jvb_conf.FILE_NAME])
    return f"""\
conf=$conf_dir/jvb.conf
if ! [ -f "$conf" ]; then
    echo "jvbtune: $conf is not there: only the sysctls are set" >&2
elif ! grep -qF '{BEGIN_MARK}' "$conf" && ! with_include "$conf" >/dev/null; then
    echo "jvbtune: $conf is left as it is, since its last brace is not on a line of its own. Only the sysctls are" \\
        "set. Move the brace to its own line, and run this again" >&2
else
owner=$(stat -L -c %u:%g "$conf") mode=$(stat -L -c %a "$conf")
new=$(mktemp "$conf_dir/{jvb_conf.FILE_NAME}.XXXXXX")
{included}replace "$conf_dir/{jvb_conf.FILE_NAME}" "$owner" "$mode"
if ! grep -qF '{BEGIN_MARK}' "$conf"; then
    conf=$(readlink -f "$conf")
    new=$(mktemp "$conf.XXXXXX")
    with_include "$conf" >"$new"
    replace "$conf" "$owner" "$mode"
fi
fi

"""


_RESTART = """\
if [ -n "$changed" ] && systemctl is-active --quiet "$unit"; then : >"$due"; fi
if [ -e "$due" ]; then
    if restart; then
        rm -f "$due"
    else
        echo "jvbtune: the new files take effect when $unit restarts: drain it, then restart it" >&2
    fi
fi
"""


def _to(command: str, text: str) -> str:
    """Shell: a command with a text as its standard input."""
    return here_document("its input", text).replace("cat <<'JVBTUNE_END'", f"{command} <<'JVBTUNE_END'", 1)


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

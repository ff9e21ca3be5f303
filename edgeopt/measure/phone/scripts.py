"""Everything that a phone's shell is asked to do: fixed texts for mksh and toybox, as Android has them. Values go in as parameters and on stdin, never into the text.

Lists come on stdin, a line each: digests, sizes and plain names, which hold no space. Answers are lines that begin with a word.
"""

from __future__ import annotations

_HEAD = """
set -eu
LC_ALL=C; export LC_ALL
flush() { fsync "$@" 2> /dev/null || sync; }
sum_of() { h=$(sha256sum < "$1"); echo "${h%% *}"; }
"""

HAVE = (
    _HEAD
    + """
mkdir -p "$1/incoming" "$1/blobs"
while read -r d; do
  if [ -f "$1/blobs/$d" ]; then
    if [ "$(sum_of "$1/blobs/$d")" = "$d" ]; then echo "$d whole"; continue; fi
    rm -f "$1/blobs/$d"
  fi
  if [ -f "$1/incoming/$d.part" ]; then echo "$d $(stat -c %s "$1/incoming/$d.part")"; else echo "$d none"; fi
done
"""
)
"""root; stdin: digests. Tells of each `whole`, the bytes of its upload, or `none`; damaged content is removed."""

COMMIT = (
    _HEAD
    + """
p="$1/incoming/$2.part"; b="$1/blobs/$2"
if [ ! -f "$p" ]; then
  if [ -f "$b" ] && [ "$(stat -c %s "$b")" = "$3" ]; then echo done; else echo missing; fi
  exit 0
fi
n=$(stat -c %s "$p")
if [ "$n" != "$3" ]; then rm -f "$p"; echo "size $n"; exit 0; fi
h=$(sum_of "$p")
if [ "$h" != "$2" ]; then rm -f "$p"; echo "hash $h"; exit 0; fi
mkdir -p "$1/blobs"; flush "$p"; mv -f "$p" "$b"; flush "$1/blobs"; echo done
"""
)
"""root, digest, bytes. An upload becomes content, durably, when it is what its name says."""

PLACE = (
    _HEAD
    + """
f="${2%/*}/.tmp-$$"
rm -rf "$f"; mkdir -p "$f"
while read -r d n p; do
  b="$1/blobs/$d"
  if [ ! -f "$b" ] || [ "$(stat -c %s "$b")" != "$n" ]; then rm -rf "$f"; echo "missing $d"; exit 0; fi
  mkdir -p "$(dirname "$f/$p")"
  ln "$b" "$f/$p" 2> /dev/null || cp "$b" "$f/$p"
  if [ "$3" = run ]; then chmod 700 "$f/$p"; fi
  flush "$f/$p"
done
if [ -d "$2" ]; then mv "$2" "$f.old"; fi
mv "$f" "$2"; rm -rf "$f.old"; flush "${2%/*}"; echo done
"""
)
"""root, folder, `run` or `read`; stdin: digest, bytes, path. A folder is filled beside its place and renamed when it is whole."""

VERIFY = (
    _HEAD
    + """
while read -r d p; do
  if [ ! -f "$1/$p" ] || [ "$(sum_of "$1/$p")" != "$d" ]; then echo "bad $p"; fi
done
"""
)
"""folder; stdin: digest, path. Tells which files are not as they were."""

REPLACE = (
    _HEAD
    + """
while read -r d p; do
  mkdir -p "$(dirname "$2/$p")"
  cp "$1/blobs/$d" "$2/.tmp-$$"; flush "$2/.tmp-$$"; mv -f "$2/.tmp-$$" "$2/$p"
done
flush "$2"
"""
)
"""root, folder; stdin: digest, path. Replaces broken files one by one: the folder may be in use."""

WRITE = (
    _HEAD
    + """
d="${1%/*}"; mkdir -p "$d"
cat > "$d/.tmp-$$"; flush "$d/.tmp-$$"; mv -f "$d/.tmp-$$" "$1"; flush "$d"
"""
)
"""path; stdin: its new content, which is there whole or not at all."""

POINT = (
    _HEAD
    + """
t="$1/.tmp-$$"
rm -rf "$t"; mkdir "$t"; ln -s "$3" "$t/$2"; mv -f "$t/$2" "$1/"; rmdir "$t"; flush "$1"
"""
)
"""folder, name, target. A link changes in one rename(2); moving it out of a folder of its own keeps every `mv` from following the old one."""

LOCK = """
mkdir -p "$1/locks" || exit 4
exec 9>> "$1/locks/device" || exit 4
if ! flock -n 9 9>&9; then echo; echo "$2 busy"; cat "$1/locks/holder" 2> /dev/null; exit 3; fi
printf %s "$3" > "$1/locks/holder"
echo; echo "$2 held"
while read -r x; do :; done
rm -f "$1/locks/holder"
"""
"""root, mark, who. Holds the lock until its stdin ends; the kernel frees it when the shell dies, however. (mksh closes its own files in its children: hence 9>&9.)"""

APPS = """
for a in "$1"/apps/*; do
  [ -d "$a" ] || continue
  n=${a##*/}
  printf '\\n%s app %s %s %s\\n' "$2" "$n" "$(readlink "$a/current" 2> /dev/null || echo -)" "$(readlink "$a/previous" 2> /dev/null || echo -)"
  printf '\\n%s state %s\\n' "$2" "$n"; cat "$a/state.json" 2> /dev/null
  for r in "$a"/releases/*; do
    [ -d "$r" ] || continue
    printf '\\n%s release %s %s\\n' "$2" "$n" "${r##*/}"; cat "$r/manifest.json" 2> /dev/null
  done
done
for r in "$1"/runtimes/*; do
  [ -d "$r" ] || continue
  printf '\\n%s runtime %s\\n' "$2" "${r##*/}"; cat "$r/runtime.json" 2> /dev/null
done
printf '\\n%s blobs %s\\n' "$2" "$(du -sk "$1/blobs" 2> /dev/null || echo 0)"
printf '\\n%s holder\\n' "$2"; cat "$1/locks/holder" 2> /dev/null
printf '\\n%s end\\n' "$2"
"""
"""root, mark. All that is installed."""

HEAL = """
for f in "$1"/apps/*/.tmp-* "$1"/apps/*/releases/.tmp-* "$1"/apps/*/releases/*/.tmp-* "$1"/staged/.tmp-* "$1"/runtimes/.tmp-* "$1"/scratch/*; do
  rm -rf "$f"
done
"""
"""root. Removes what a cut left; only the holder of the lock may."""

READ = """
LC_ALL=C; export LC_ALL
m=$1; d=$2; w=$3
said() { printf '\\n%s =%s\\n' "$m" "$1"; shift; timeout 10 "$@" 2>&1; }
one() { for f in "$@"; do if [ -r "$f" ] && [ -f "$f" ]; then printf '\\n%s %s\\n' "$m" "$f"; cat "$f" 2> /dev/null; fi; done; }
if [ "$w" = first ]; then one /proc/stat; fi
said thermal dumpsys thermalservice
said date date +%s.%N
one /proc/uptime /proc/loadavg /proc/meminfo /proc/vmstat /proc/pressure/cpu
one /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp
one /sys/class/thermal/cooling_device*/type /sys/class/thermal/cooling_device*/cur_state
if [ -n "$d" ]; then
  while [ ! -d "$d" ]; do d=${d%/*}; d=${d:-/}; done
  said getprop getprop
  said battery dumpsys battery
  said uname uname -srm
  said user id -un
  said nproc nproc
  said df df -k "$d"
  said page getconf PAGESIZE
  printf '\\n%s =folder\\n' "$m"; if [ -w "$d" ]; then echo "$d writable"; else echo "$d sealed"; fi
  for t in sha256sum flock stat readlink timeout truncate taskset; do command -v $t > /dev/null || printf '\\n%s =lacks\\n%s' "$m" "$t"; done
  one /proc/cpuinfo /proc/mounts /proc/device-tree/model /proc/device-tree/compatible
  one /sys/devices/system/cpu/cpu[0-9]*/cpu_capacity /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor
fi
if [ "$w" != first ]; then one /proc/stat; fi
printf '\\n%s =end\\n' "$m"
"""
"""mark, folder or nothing, `first` or `last`. The conditions now, and with a folder everything else that is asked of a phone. Files that may not be read are left out.

The kernel's count of used time is read first after a block and last before one: what is asked here is not the block's."""

BLOCK = """
LC_ALL=C; export LC_ALL
m=$1; k=$2; r=$3; LD_LIBRARY_PATH=$4; export LD_LIBRARY_PATH; shift 4
if [ -n "$k" ]; then set -- taskset "$k" "$@"; fi
rm -f "$r"
cd "${r%/*}" || exit 4
printf '\\n%s said\\n' "$m"
"$@" 2>&1
c=$?
unset LD_LIBRARY_PATH
printf '\\n%s exit %s\\n' "$m" "$c"
printf '\\n%s times\\n' "$m"; times
printf '\\n%s result\\n' "$m"; cut -d , -f 2,3 "$r" 2> /dev/null | head -n 40000
printf '\\n%s end\\n' "$m"
"""
"""mark, cores as a mask or nothing, file of results, folder of libraries, the tool's words. What it printed, how it ended, its CPU time, its results.

There is no `timeout` around it: toybox's tells 127 of a command that ended well (0.8.9, two times in three). The link ends the whole group when its time is up.
"""

LAY = """
set -eu
rm -rf "$2"; mkdir -p "$2"
for f in "$1"/*; do
  if [ -f "$f" ]; then ln "$f" "$2/" 2> /dev/null || cp "$f" "$2/"; fi
done
i=0
while [ "$i" -lt "$3" ]; do mkdir "$2/test_data_set_$i"; i=$((i + 1)); done
"""
"""folder of the model, new folder, how many sets of inputs. onnxruntime_perf_test looks for inputs beside the model."""

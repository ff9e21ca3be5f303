"""A profile for people: the same sections as lines for a terminal and as a page of the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from edgeopt.domain.board import Cluster, System
from edgeopt.domain.device import Profile
from edgeopt.report.cells import safe

WIDTH = 110
"""Of a line on a terminal."""

MARKS = {
    "measured": "measured or computed by us",
    "seen": "seen in a public source",
    "believed": "general knowledge, not verified by us",
}

RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "litert": "LiteRT",
    "openvino": "OpenVINO",
    "ncnn": "ncnn",
    "tensorrt": "TensorRT",
}
"""What people call a runtime of systems with Python; `command` is on Android only, and needs a program of the user's."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading, and below it pairs of words or sentences; `header` makes rows a table."""

    title: str
    pairs: tuple[tuple[str, str], ...] = ()
    sentences: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def sections(profile: Profile, floors: Mapping[str, Mapping[str, str]]) -> tuple[Section, ...]:
    """Return what there is to say of a profile.

    Args:
        profile: as loaded.
        floors: runtime -> package that brings it -> the oldest version that edgeopt takes.
    """
    found = (
        Section(title="The board", pairs=tuple(_board(profile))),
        Section(title="What is tried, in this order", pairs=tuple(_tried(profile, floors))),
        _systems(profile),
        Section(title="What to know", sentences=profile.notes),
        Section(title="What systems lack, and ask of you", pairs=tuple(_of_systems(profile.systems))),
        _rooflines(profile),
        Section(title="How it is recognised", pairs=tuple(_recognised(profile))),
        _sources(profile),
    )
    return tuple(section for section in found if section.pairs or section.sentences or section.rows)


def lines(profile: Profile, floors: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield a profile as text of `WIDTH` columns."""
    yield safe(f"{profile.name}: {profile.title}")
    for section in sections(profile, floors):
        yield ""
        yield section.title
        for key, text in section.pairs:
            yield from _folded(f"  {key}: ", text)
        for sentence in section.sentences:
            yield from _folded("  - ", sentence)
        if section.rows:
            yield from _columns((section.header, *section.rows))


def page(profile: Profile, floors: Mapping[str, Mapping[str, str]]) -> str:
    """Return a profile as a page in Markdown."""
    text = f"# {profile.name}: {profile.title}\n"
    for section in sections(profile, floors):
        text += f"\n## {section.title}\n\n"
        text += _table(("", ""), section.pairs) if section.pairs else ""
        text += "".join(f"- {sentence}\n" for sentence in section.sentences)
        text += _table(section.header, section.rows) if section.rows else ""
    return text


def index_page(profiles: tuple[Profile, ...]) -> str:
    """Return the page that lists all profiles, in Markdown."""
    rows = [
        (
            f"[{profile.name}]({profile.name}.md)",
            profile.title,
            "; ".join(_cluster(cluster) for cluster in profile.clusters) or "any",
            ", ".join(profile.runtimes),
        )
        for profile in profiles
    ]
    return (
        "# Profiles\n\n"
        "What edgeopt knows of kinds of boards, from `device_profiles/`. These pages are generated: `python -m edgeopt.cli.profile_pages docs/profiles`. "
        "`edgeopt profiles show NAME` prints the same, your own profiles included.\n\n"
        + _table(("profile", "board", "cores", "runtimes, the likeliest first"), rows)
        + "\n[How boards are recognised, and how well](recognition.md). [A profile of your own](own.md).\n"
    )


def _board(profile: Profile) -> Iterator[tuple[str, str]]:
    if profile.aliases:
        yield "earlier name", ", ".join(profile.aliases)
    yield "system", f"{profile.os}, {profile.arch}"
    if profile.soc:
        yield "chip", profile.soc
    if profile.clusters:
        yield "cores", "; ".join(_cluster(cluster) for cluster in profile.clusters)
    if profile.ram_mb:
        speed = "" if profile.memory_gb_per_s is None else f"; {profile.memory_gb_per_s:g} GB/s in theory"
        yield "memory", f"{_one_of([_size(mb) for mb in profile.ram_mb])}{speed}"
    if profile.isa:
        lacks = f"; not {', '.join(profile.isa_absent)}" if profile.isa_absent else ""
        yield "instructions", ", ".join(profile.isa) + lacks
    for accelerator in profile.accelerators:
        yield "accelerator", accelerator
    yield "power", profile.power_sensor or f"no sensor: {profile.power_reason}"
    for sensor in profile.sensors:
        yield sensor.kind, sensor.name + (f": {sensor.note}" if sensor.note else "")


def _tried(profile: Profile, floors: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    yield "runtimes", ", ".join(profile.runtimes)
    least = [
        " or ".join(" ".join(pair) for pair in floors[name].items()) for name in profile.runtimes if name in floors
    ]
    if least:
        yield "versions, at least", "; ".join(least)
    yield "recipes", ", ".join(profile.recipes)
    yield "threads", ", ".join("all cores" if count == 0 else str(count) for count in profile.threads)
    yield "int8 is written as", profile.encoding
    yield "float16 arithmetic", "yes" if profile.fp16 else "no"
    yield "newest ONNX", f"opset {profile.max_opset}, IR version {profile.max_ir_version}"


def _systems(profile: Profile) -> Section:
    """Return the table of systems and the newest runtimes for their Python."""
    with_python = [system for system in profile.systems if system.python]
    names = [name for name in RUNTIMES if any(wheel.runtime == name for s in with_python for wheel in s.wheels)]
    rows = [
        (system.title, system.python or "", system.glibc or "?", *(_newest(system, name) for name in names), system.resolved or "?")
        for system in with_python
    ]  # fmt: skip
    return Section(
        title="Systems, and the newest runtimes for their Python",
        header=("system", "Python", "glibc", *(RUNTIMES[name] for name in names), "looked up"),
        rows=tuple(rows),
    )


def _newest(system: System, runtime: str) -> str:
    found = [wheel for wheel in system.wheels if wheel.runtime == runtime]
    if not found:
        return "none"
    return found[0].version if found[0].package != "tflite-runtime" else f"tflite-runtime {found[0].version}"


def _of_systems(systems: tuple[System, ...]) -> Iterator[tuple[str, str]]:
    for system in systems:
        for note in system.notes:
            yield system.title, note
        for runtime, reason in system.lacks.items():
            yield f"{system.title}, {RUNTIMES.get(runtime, runtime)}", f"{reason}."


def _rooflines(profile: Profile) -> Section:
    rows = [
        (
            roofline.dtype,
            str(roofline.threads),
            f"{roofline.gmac_per_s:g}",
            f"{roofline.gb_per_s:g}",
            "derived from another format" if roofline.error_factor is None else f"{roofline.error_factor:.2f}",
        )
        for roofline in profile.roofline
    ]
    return Section(
        title="What latency is expected: MAC / P + bytes / BW",
        header=("number format", "threads", "P, 10^9 MAC/s", "BW, 10^9 bytes/s", "error of the fit, a factor"),
        rows=tuple(rows),
    )


def _recognised(profile: Profile) -> Iterator[tuple[str, str]]:
    match = profile.match
    for key, values in (
        ("device tree, model", match.dt_model),
        ("device tree, compatible", match.dt_compatible),
        ("ro.product.model", match.product_model),
        ("ro.soc.model", match.soc_model),
        ("ro.board.platform", match.platform),
    ):
        if values:
            yield key, ", ".join(values)


def _sources(profile: Profile) -> Section:
    pairs = [(", ".join(source.about), f"{MARKS[source.mark]}: {source.text}") for source in profile.sources]
    return Section(title="Where this comes from, and how sure it is", pairs=tuple(pairs))


def _cluster(cluster: Cluster) -> str:
    speed = "" if cluster.mhz is None else f" at {cluster.mhz / 1000:g} GHz"
    return f"{cluster.count} x {cluster.core}{speed}"


def _size(mb: int) -> str:
    return f"{mb // 1024} GB" if mb >= 1024 else f"{mb} MB"


def _one_of(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _folded(key: str, text: str) -> Iterator[str]:
    """Yield a pair over as many lines as it takes."""
    yield from textwrap.wrap(
        safe(text), WIDTH, initial_indent=key, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    ) or [key.rstrip()]


def _columns(rows: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    """Yield a table of short cells."""
    widths = [max(len(safe(row[n])) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        yield "  " + "".join(f"{safe(cell):<{width + 2}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    text = "".join(f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in (header, *rows))
    first, _, rest = text.partition("\n")
    return f"{first}\n|{'---|' * len(header)}\n{rest}"


def _cell(text: str) -> str:
    return safe(text).replace("|", "\\|").replace("<", "&lt;")

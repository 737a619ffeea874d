"""The script that draws charts: Vega, Vega-Lite and Vega-Embed, which ask for nothing elsewhere."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata

import altair as alt
import vl_convert

from harness.files import cache_file, write_atomically


@functools.cache
def runtime() -> str:
    """The three as one script, for a page to embed.

    Bundling takes seconds and depends on versions alone, so that the script is kept for later runs;
    where it cannot be written, or is not what was written, it is bundled again.
    """
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    made_by = importlib.metadata.version("vl-convert-python")
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        digest, _, script = (
            cache_file(f"vega-{version}-{made_by}.js").read_text("utf-8").partition("\n")
        )
        if digest == _digest(script):
            return script
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    script = bundle.replace("</script", "<\\/script")
    with contextlib.suppress(OSError, RuntimeError):
        file = cache_file(f"vega-{version}-{made_by}.js")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, f"{_digest(script)}\n{script}".encode())
    return script


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()

"""The pages in a real browser: both colour schemes, a desk and a phone, nothing on the console."""

import os
import shutil
import subprocess

import pytest

from raynas.report.colours import DARK

from .conftest import sections

CHROMIUM = shutil.which("chromium")
PAPERS = {"light": "#ffffff", "dark": DARK["#ffffff"]}
SCHEMES = {"light": "1", "dark": "0"}
SIZES = {"desk": "1000,1400", "phone": "500,1400"}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on the PATH")


def open_page(path, scheme, size, tmp_path):
    """Return the DOM, what was logged to the console, and the picture."""
    image = pytest.importorskip("PIL.Image", reason="pillow reads the screenshot")
    picture = tmp_path / "page.png"
    options = [
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--window-size={SIZES[size]}",
        f"--screenshot={picture}",
        "--dump-dom",
    ]
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # its sandbox refuses to be root
    done = subprocess.run(
        [CHROMIUM, *options, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console, image.open(picture).convert("RGB")


@pytest.mark.parametrize(
    ("kind", "scheme", "size"),
    [
        ("search", "light", "desk"),
        ("search", "dark", "phone"),
        ("supernet", "dark", "desk"),
        ("retrain", "light", "phone"),
    ],
)
def test_a_page_renders(pages, kind, scheme, size, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(pages[kind])
    dom, console, picture = open_page(path, scheme, size, tmp_path)
    assert console == []
    assert sections(dom) == sections(pages[kind])
    assert dom.count("<svg") == pages[kind].count("<svg")
    paper = tuple(int(PAPERS[scheme][i : i + 2], 16) for i in (1, 3, 5))
    assert picture.getpixel((2, 2)) == paper
    colours = picture.getcolors(maxcolors=picture.width * picture.height)
    assert len(colours) > 60, "text and drawings leave many shades"
    inked = sum(count for count, colour in colours if colour != paper)
    assert inked > 0.02 * picture.width * picture.height


def test_the_policy_of_a_page_stops_scripts_and_loads(pages, tmp_path):
    path = tmp_path / "page.html"
    planted = '<p id="trace">still</p><script>document.getElementById("trace").id="ran"</script>'
    path.write_text(pages["search"].replace("</main>", f"{planted}</main>"))
    dom, console, _ = open_page(path, "light", "desk", tmp_path)
    assert '<p id="trace">' in dom
    assert '<p id="ran">' not in dom
    assert any("Content Security Policy" in line for line in console)

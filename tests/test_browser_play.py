"""The page of `fastnn play` and `fastnn page` in a real browser, Debian's Chromium."""

import math
import shutil

import numpy as np
import pytest

import fastnn
from fastnn import activations, cli
from fastnn.pictures import centred

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or "chromium"  # where playwright is, a browser has to be
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MINUS = "\N{MINUS SIGN}"
SCRIPT = (
    "async ([code, argument]) => await (new (async () => {}).constructor('it', code))(argument)"
)


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests here; each page has a profile of its own."""
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def open_page(browser):
    """Opens an address in a new profile; nothing may go wrong on the page."""
    contexts, wrong = [], []

    def opened(address, width=1360, height=900, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(address)
        page.wait_for_selector(".answer")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture(scope="module")
def server(play, good_model):
    """The page on a network that knows its digits."""
    return play(good_model)


@pytest.fixture(scope="module")
def good_model(tmp_path_factory):
    """The file of a network that tells digits apart."""
    path = tmp_path_factory.mktemp("good") / "digits.fastnn"
    assert cli.main(["train", "--hidden", "64", "--output", str(path), "--quiet"]) == 0
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of two numbers and a word: the class is large for large numbers in the north."""
    random = np.random.default_rng(0)
    a, b = random.uniform(0, 10, (2, 240))
    town = random.choice(["north", "south"], 240)
    kind = np.where(a + b + 4 * (town == "north") > 12, "large", "small")
    lines = [f"{x:.2f},{y:.2f},{t},{k}" for x, y, t, k in zip(a, b, town, kind, strict=True)]
    path = tmp_path_factory.mktemp("table") / "towns.csv"
    path.write_text("\n".join(["a,b,town,kind", *lines]) + "\n")
    return path


def three(x, y, radius):
    """Points of a 3 about (x, y), shares of the board."""
    bows = [(-130, 91, -radius), (-90, 131, radius)]
    return [
        (x + radius * math.cos(math.radians(k)), y + middle + radius * math.sin(math.radians(k)))
        for first, last, middle in bows
        for k in range(first, last, 15)
    ]


def draw(page, points):
    """One stroke with the mouse."""
    box = page.locator(".board").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def says(page, text):
    """Wait until the verdict begins like this."""
    page.wait_for_function(
        "text => document.querySelector('#verdict').textContent.startsWith(text)", arg=text
    )


def measured(page):
    """Milliseconds from each stroke to the repainted page."""
    return page.evaluate("performance.getEntriesByName('stroke').map((one) => one.duration)")


def test_a_small_three_off_the_centre_is_a_three(server, open_page):
    page = open_page(server.address)
    draw(page, three(0.75, 0.3, 0.07))
    says(page, "It says 3")
    assert measured(page)
    draw(page, three(0.3, 0.6, 0.0))  # the board takes more
    page.click("#clear")
    says(page, "Draw something")


def test_a_drawing_that_is_begun_before_the_first_row_has_come(server, open_page):
    page, held, late = open_page(server.address), [], True
    page.route("**/*rows?*", lambda route: held.append(route) if late else route.continue_())
    page.reload()
    page.wait_for_selector(".answer")
    draw(page, three(0.75, 0.3, 0.07))
    late = False
    for row in held:
        row.continue_()
    page.wait_for_timeout(300)
    assert held
    says(page, "It says 3")


def test_a_drawing_is_reloaded_from_the_address(server, open_page):
    page = open_page(server.address)
    draw(page, three(0.3, 0.6, 0.12))
    says(page, "It says 3")
    page.wait_for_function("() => location.hash.includes('draw=')")
    page.locator(".node").nth(7).click()
    page.wait_for_function("() => location.hash.includes('neuron=0.7')")
    page.reload()
    says(page, "It says 3")
    page.wait_for_selector("h2:text('Layer 1, neuron 7')")
    assert server.token not in page.url


def test_the_board_has_keys(server, open_page):
    page = open_page(server.address)
    page.focus(".board")
    page.keyboard.press("Space")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    says(page, "It says 1")
    page.keyboard.press("Delete")
    says(page, "Draw something")


def test_rows_are_picked_and_mistakes_alone(server, open_page):
    page = open_page(server.address)
    page.locator(".tile").nth(2).click()
    page.wait_for_function("() => location.hash.includes('row=2')")
    says(page, "It says 1")
    assert "right" in page.locator("#runner-up").inner_text()
    page.check("#wrong")
    page.wait_for_selector(".tile:first-child .badge")
    page.locator(".tile").first.click()
    page.wait_for_function(
        "() => document.querySelector('#runner-up').textContent.includes('wrong')"
    )


def test_neurons_are_silenced_until_the_answer_changes(play, small_model, open_page):
    page = open_page(play(small_model).address)
    says(page, "It says ")
    before = page.locator("#verdict").inner_text()[:9]
    for k in range(16):
        page.locator(".node").nth(k).click()
        page.wait_for_selector(f"h2:text-is('Layer 1, neuron {k}')")
        page.click("#silence")
        page.wait_for_selector(f".node.silenced >> nth={k}")
        if not page.locator("#verdict").inner_text().startswith(before):
            break
    assert not page.locator("#verdict").inner_text().startswith(before)
    changed = page.locator("#verdict").inner_text()
    page.wait_for_function("() => location.hash.includes('off=')")
    page.wait_for_timeout(300)
    page.reload()
    says(page, changed[:9])
    page.click("#undo")
    says(page, before)


def test_a_weight_is_changed_and_the_sum_follows(server, open_page):
    page = open_page(server.address)
    page.locator(".node").nth(3).click()
    page.wait_for_selector(".terms .sum")
    total = ".terms .sum >> nth=0"
    before = page.locator(total).inner_text()
    page.focus("#weight")
    page.keyboard.press("End")
    page.wait_for_function(
        "before => document.querySelector('.terms .sum').innerText !== before", arg=before
    )
    assert "1 weight changed" in page.locator("#edits").inner_text()


def test_terms_and_attributions_add_up(server, open_page):
    page = open_page(server.address)
    page.locator(".node").nth(3).click()
    page.wait_for_selector(".terms .sum")
    numbers = [
        float(text.replace(MINUS, "-"))
        for text in page.locator(".terms tbody tr td:last-child").all_inner_texts()
    ]
    *terms, total, _ = numbers
    assert sum(terms) == pytest.approx(total, abs=0.05)
    page.locator(".answer").nth(4).click()
    page.wait_for_selector("#why .total:has-text('sum for 4')")
    page.locator("#why select").nth(1).select_option("9")
    page.wait_for_selector("#why .total:has-text('sum for 4 and not 9')")
    texts = page.locator("#why .balance .number").all_inner_texts()
    start, plus, minus, total = (float(text.replace(MINUS, "-")) for text in texts)
    assert start + plus + minus == pytest.approx(total, abs=0.3)


def test_the_smallest_change_changes_the_answer(server, open_page, good_model):
    from fastnn import inspection

    page, net = open_page(server.address), fastnn.load(good_model)
    says(page, "It says ")
    before = np.array(page.evaluate("[...window.fastnn.x]"))
    page.locator("#change select").select_option("4")
    page.click("#find-change")
    page.click("#use-change")
    says(page, "It says 4")
    after = np.array(page.evaluate("[...window.fastnn.x]"))
    assert after.min() >= 0
    assert after.max() <= 255
    found = inspection.counterfactual(net, before, 4, low=0, high=255)
    distance = np.linalg.norm(after - before) / 255
    assert distance == pytest.approx(found.distance, rel=0.1)
    assert net.classify(after[None])[0] == 4


def test_a_training_is_watched_and_steered(server, open_page, tmp_path):
    page = open_page(server.address)
    page.click("[data-view=train]")
    page.click("[data-role=start]")
    page.wait_for_selector("#curves path")

    def length():
        return page.evaluate("document.querySelector('#curves path').getAttribute('d').length")

    first = length()
    page.wait_for_function(
        "n => document.querySelector('#curves path').getAttribute('d').length > n", arg=first
    )
    page.click("[data-role=pause]")
    page.wait_for_selector("[data-plan=a][data-state=paused]")
    page.locator("[data-role=rate]").fill("-2")
    page.uncheck("[data-plan=a] input[type=checkbox]")
    page.click("[data-role=pause]")
    page.wait_for_selector("[data-plan=a][data-state=done]")
    figures = page.locator("[data-figures=a] b").all_inner_texts()
    assert float(figures[0]) == 10
    assert float(figures[1].removesuffix(" %")) >= 90
    assert figures[3] == "0.010"
    assert page.locator(".weights canvas").count() == 16
    page.click("[data-role=look]")
    page.wait_for_selector(".caption:text('16 sigmoid')")
    with page.expect_download() as download:
        page.click("#save-network")
    assert download.value.suggested_filename == "784-16-16-10.fastnn"
    download.value.save_as(tmp_path / "saved.fastnn")
    _, (x, y) = fastnn.datasets.load_digits()
    assert fastnn.load(tmp_path / "saved.fastnn").evaluate(x, y)["accuracy"] >= 0.9


def test_two_architectures_are_compared(server, open_page):
    page = open_page(server.address)
    page.click("[data-view=train]")
    page.click("#compare")
    for plan in "ab":
        page.uncheck(f"[data-plan={plan}] input[type=checkbox]")
        page.click(f"[data-plan={plan}] [data-role=start]")
    for plan in "ab":
        page.wait_for_selector(f"[data-plan={plan}][data-state=done]")
    page.wait_for_selector("[data-figures=b]")
    assert page.locator("#curves figure").first.locator("path").count() == 4
    page.reload()
    page.wait_for_selector("[data-figures=a]")
    page.wait_for_selector("[data-figures=b]")


def test_a_table_has_sliders_a_map_and_a_curve(play, table, open_page):
    page = open_page(play("--data", table, "--label", "last").address)
    assert page.locator(".sliders input").count() == 2
    assert page.locator(".sliders select").count() == 1
    for key, answer in (("End", "It says large"), ("Home", "It says small")):
        for k in range(2):
            page.locator(".sliders input").nth(k).focus()
            page.keyboard.press(key)
        says(page, answer)
    page.wait_for_selector("#why .bars > * >> nth=8")
    assert page.locator("#why .bars > *").count() == 9
    page.wait_for_selector("#dependence path >> nth=1")
    assert "a and b" in page.locator("#boundary canvas").get_attribute("aria-label")
    page.wait_for_function("() => location.hash.includes('x=')")
    page.wait_for_timeout(300)
    page.reload()
    says(page, "It says small")
    page.click("#find-change")
    page.click("#use-change")
    says(page, "It says large")


def test_a_page_from_a_disk_says_what_the_network_says(good_model, open_page, tmp_path):
    out = tmp_path / "digits.html"
    assert cli.main(["page", str(good_model), str(out)]) == 0
    page = open_page(out.as_uri())
    _, (x, _) = fastnn.datasets.load_digits()
    rows = x[:60].astype(float).tolist()
    found = page.evaluate("rows => rows.map((x) => [...window.fastnn.network.predict(x)])", rows)
    np.testing.assert_allclose(found, fastnn.load(good_model).predict(x[:60]), atol=1e-5)
    draw(page, three(0.7, 0.4, 0.08))
    says(page, "It says 3")
    page.locator(".node").nth(5).click()
    page.wait_for_selector(".terms .sum")
    page.locator("#change select").select_option("8")
    page.click("#find-change")
    page.click("#use-change")
    says(page, "It says 8")
    assert page.locator("[data-view=train]").count() == 0


def nets():
    """A network of each activation, and of each kind of input and output."""
    random = np.random.default_rng(0)
    x = random.normal(3, 2, (50, 4))
    for name in activations.ACTIVATIONS:
        if name != "softmax":
            yield fastnn.mlp([4, 7, 6, 3], name, dtype="float64", seed=3), x
    kinds = (fastnn.LeakyReLU(0.2), fastnn.ELU(0.7))
    yield fastnn.Network(4, [fastnn.Dense(5, kind) for kind in (*kinds, "sigmoid")]), x
    net = fastnn.Network(4, [fastnn.Dense(8, "tanh"), fastnn.Dense(2)], standardize=True)
    net.fit(x, 100 * x[:, :2] ** 2, epochs=3, verbose=0)
    yield net, x


def test_networks_in_javascript_agree_with_the_engine(server, open_page):
    from fastnn.play.description import described

    page = open_page(server.address)
    code = """
        const { Network } = await import("/network.js");
        return it.rows.map((x) => [...new Network(it.net).predict(x)]);
    """
    for net, x in nets():
        found = page.evaluate(SCRIPT, [code, {"net": described(net), "rows": x.tolist()}])
        scale = np.abs(net.predict(x)).max()
        np.testing.assert_allclose(found, net.predict(x), atol=2e-6 * max(1, scale), err_msg=net)


def test_attributions_in_javascript_agree_with_those_of_inspection(server, open_page, good_model):
    from fastnn import inspection

    page, net = open_page(server.address), fastnn.load(good_model)
    _, (x, _) = fastnn.datasets.load_digits()
    code = "return [...window.fastnn.network.attribute(it, 3, 8, new Array(784).fill(0), 20)];"
    found = page.evaluate(SCRIPT, [code, x[0].tolist()])
    wanted = inspection.attribute(net, x[:1], 3, 8, steps=300)[0]
    np.testing.assert_allclose(found, wanted, atol=0.015 * np.abs(wanted).max())


def test_digits_in_javascript_are_centred_as_in_python(server, open_page):
    page, random = open_page(server.address), np.random.default_rng(0)
    code = """
        const { centred } = await import("/digit.js");
        return [...centred(Uint8Array.from(it.ink), it.height, it.width)];
    """
    for height, width in ((40, 90), (28, 28), (9, 30), (140, 140)):
        ink = random.integers(0, 256, (height, width)) * (random.random((height, width)) > 0.7)
        ink[: height // 3] = 0
        argument = {"ink": ink.ravel().tolist(), "height": height, "width": width}
        found = np.reshape(page.evaluate(SCRIPT, [code, argument]), (28, 28))
        assert np.abs(found - centred(ink).astype(int)).max() <= 1


def test_a_telephone_draws_with_a_finger(server, open_page):
    page = open_page(server.address, 390, 844, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = page.locator(".board").bounding_box()
    touch = page.context.new_cdp_session(page)

    def send(kind, points):
        places = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    points = three(0.5, 0.5, 0.15)
    send("touchStart", points[:1])
    for point in points[1:]:
        send("touchMove", [point])
    send("touchEnd", [])
    says(page, "It says 3")
    assert page.evaluate("scrollY") == 0
    page.click("[data-view=train]")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_page_is_accessible(server, open_page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(server.address)
    for state in ("look", "dark", "neuron", "train"):
        if state == "dark":
            page.emulate_media(color_scheme="dark")
        elif state == "neuron":
            page.locator(".node").nth(2).click()
            page.wait_for_selector("h3:text('class by class')")
        elif state == "train":
            page.click("[data-view=train]")
        page.wait_for_timeout(600)  # colours fade into each other
        found = axe.run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_all_is_reached_by_keys(server, open_page):
    page = open_page(server.address)
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(({id, className}) => id || className)(document.activeElement)"))
    assert {"theme", "clear", "board", "tile", "wrong", "node", "answer", "find-change"} <= reached
    page.locator(".node").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:text-is('Layer 1, neuron 1')")

"""dossier.toml: strict, and errors that help."""

import pytest

from dossier.config import load_config
from dossier.errors import ConfigError
from tests.planted import config_text


def load(tmp_path, text):
    (tmp_path / "dossier.toml").write_text(text)
    return load_config(tmp_path / "dossier.toml")


def test_a_good_configuration_is_read(tmp_path):
    config = load(tmp_path, config_text())
    assert config.evidence[0].criteria[0].threshold == 0.2
    assert config.budget.prompts is None


def test_whole_numbers_serve_as_thresholds(tmp_path):
    assert load(tmp_path, config_text().replace("0.2", "1")).evidence[0].criteria[0].threshold == 1.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title =", "titel =", "titel: unknown key; did you mean 'title'"),
        (
            "expires_after_days",
            "expires_after_day",
            r"evidence.0.expires_after_day: unknown key; did you mean 'expires_after_days'",
        ),
        ("threshold = 0.2", "treshold = 0.2", "treshold: unknown key; did you mean 'threshold'"),
        ("[provider]", "[provider]\ntoken = 'x'", "provider.token: unknown key"),
        ("expires_after_days = 3660", 'expires_after_days = "3660"', "expires_after_days"),
        ("expires_after_days = 3660", "expires_after_days = 0", "greater than or equal to 1"),
        ('placed_on_market = "2026-09-01"', "placed_on_market = 1", "placed_on_market"),
        ('comparator = ">="', 'comparator = ">"', "comparator"),
        ('contact = "compliance@example.invalid"', "", "provider.contact: this key is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, config_text().replace(old, new, 1))


@pytest.mark.parametrize("moment", ["2026-09-01", "2026-09-01T10:00:00Z", "10:00:00"])
def test_an_unquoted_date_is_refused_by_name(tmp_path, moment):
    with pytest.raises(ConfigError, match=r"scope\.placed_on_market: expected a text, got a TOML date") as caught:
        load(tmp_path, config_text().replace('placed_on_market = "2026-09-01"', f"placed_on_market = {moment}"))
    assert "quotes" in caught.value.hint


@pytest.mark.parametrize("text", ["title = ", "= 1", "title = 'a'\ntitle = 'b'"])
def test_what_is_no_toml_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="not TOML"):
        load(tmp_path, text)


def test_a_missing_file_points_to_init(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "dossier.toml")
    assert "dossier init" in caught.value.hint


def test_two_pieces_of_evidence_need_two_ids(tmp_path):
    text = config_text()
    with pytest.raises(ConfigError, match="same id"):
        load(tmp_path, text + text[text.index("[[evidence]]") :])

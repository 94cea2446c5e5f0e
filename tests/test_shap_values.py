"""Shapley values beside shap's exact explainer."""

import numpy as np
import pytest

import fastnn
from fastnn import inspection

shap = pytest.importorskip("shap", reason="shap is not installed: shap")


def test_values_are_those_of_shaps_exact_explainer():
    random = np.random.default_rng(0)
    net = fastnn.mlp([8, 16, 3], hidden="tanh", dtype="float64")
    net.features = tuple("abcdefgh")
    x, background = random.normal(size=(5, 8)), random.normal(size=(30, 8))
    masker = shap.maskers.Independent(background, max_samples=30)
    expected = shap.explainers.Exact(net.predict, masker)(x)
    found = inspection.shapley(net, x, background)
    assert found.values == pytest.approx(expected.values, abs=1e-6)
    explanation = found.explanation()
    assert isinstance(explanation, shap.Explanation)
    assert explanation.base_values == pytest.approx(expected.base_values)
    assert explanation.feature_names == list("abcdefgh")

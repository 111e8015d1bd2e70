"""The Kubernetes documents for KServe: valid by KServe's own types, of the package that is installed."""

import copy

import pytest
from kserve_types import KSERVE_GROUP, unknown_to_kserve
from kubernetes_documents import documents

pytest.importorskip("kserve", reason="kserve is of the group test-kserve: `make test-torchless` has it")


def test_kserve_knows_every_key_of_its_documents() -> None:
    found = [each for each in documents("kserve").values() if each["apiVersion"].startswith(KSERVE_GROUP)]
    assert {each["kind"] for each in found} == {"InferenceService", "ServingRuntime"}
    for document in found:
        assert unknown_to_kserve(document) == []
    misspelt = copy.deepcopy(documents("kserve")["inference-service.yaml"])
    misspelt["spec"]["predictor"]["model"]["storageURI"] = "pvc://models"
    assert unknown_to_kserve(misspelt) == [".spec.predictor.model.storageURI"]

"""The Kubernetes manifests: by schema, and in what they must say to each other."""

import copy
from pathlib import Path

import pytest
import yaml

jsonschema = pytest.importorskip("jsonschema", reason="comes with Ray")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "clusters" / "kuberay"
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
RAY = ["raycluster.yaml", "rayjob.yaml"]
LABEL = {"app.kubernetes.io/part-of": "raynas"}


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def valid(document):
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def cluster_of(name):
    (document,) = documents(name)
    return document["spec"].get("rayClusterSpec", document["spec"])


def pods(name):
    cluster = cluster_of(name)
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(RAY) < set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_manifests_are_valid(name):
    for document in documents(name):
        jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)


def changed(document, path, value):
    """Return a copy with something at a path; `...` takes it away."""
    made = copy.deepcopy(document)
    *way, last = path
    at = made
    for step in way:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


HEAD = ("headGroupSpec", "template", "spec", "containers", 0)
BROKEN = [
    (("authOption",), {"mode": "token"}),
    (("authOptions",), ...),
    (("authOptions", "mode"), "tokens"),
    (("rayVersion",), 2.6),
    (("headGroupSpec", "rayStartParams", "num-cpus"), 0),  # KubeRay takes text only
    (("headGroupSpec", "template"), ...),
    (("workerGroupSpecs", 0, "groupName"), "GPU_spot"),
    (("workerGroupSpecs", 0, "maxReplica"), 4),
    (("workerGroupSpecs", 0, "maxReplicas"), "8"),
    (("workerGroupSpecs", 0, "template", "spec", "toleration"), []),
    (("workerGroupSpecs", 0, "template", "spec", "tolerations", 0, "operator"), "Equals"),
    ((*HEAD, "image"), "raynas"),
    ((*HEAD, "images"), "raynas:1"),
    ((*HEAD, "resources", "limit"), {}),
    ((*HEAD, "resources", "requests", "memory"), "8GB"),
    ((*HEAD, "resources", "requests", "cpu"), 2.5),
    ((*HEAD, "env", 0), {"value": "x"}),
    ((*HEAD, "env", 0, "value"), 1),
    ((*HEAD, "volumeMounts", 0, "mountPath"), "runs"),
    ((*HEAD, "ports", 0, "containerPort"), 70000),
]


@pytest.mark.parametrize("name", RAY)
@pytest.mark.parametrize(("path", "value"), BROKEN, ids=lambda it: str(it)[-60:])
def test_broken_clusters_are_rejected(name, path, value):
    (document,) = documents(name)
    way = ("spec", "rayClusterSpec") if document["kind"] == "RayJob" else ("spec",)
    assert not valid(changed(document, (*way, *path), value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("apiVersion",), "ray.io/v1alpha1"),
        (("kind",), "RayJobs"),
        (("metadata", "name"), ...),
        (("spec", "entryPoint"), "x"),
        (("spec", "entrypoint"), ...),
        (("spec", "submissionMode"), "HttpMode"),
        (("spec", "backoffLimit"), "5"),
        (("spec", "shutdownAfterJobFinishes"), "true"),
        (("spec", "shutdownAfterJobFinishes"), False),
        (("spec", "rayClusterSpec"), ...),
    ],
)
def test_broken_jobs_are_rejected(path, value):
    (document,) = documents("rayjob.yaml")
    assert not valid(changed(document, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "ingress", 0, "form"), []),
        (("spec", "ingress", 0, "from"), []),
        (("spec", "ingress", 1, "ports", 0, "port"), "dashboard-port"),
        (("spec", "policyTypes"), ["ingress"]),
        (("spec", "podSelector"), ...),
    ],
)
def test_broken_policies_are_rejected(path, value):
    (document,) = documents("networkpolicy.yaml")
    assert not valid(changed(document, path, value))


@pytest.mark.parametrize("name", RAY)
def test_clusters_ask_for_a_token_and_no_pod_has_privileges(name):
    cluster = cluster_of(name)
    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"].get("serviceType", "ClusterIP") == "ClusterIP"
    contexts = [cluster["autoscalerOptions"]["securityContext"]]
    for pod in pods(name):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        contexts += [container["securityContext"] for container in pod["spec"]["containers"]]
    for context in contexts:
        assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.mark.parametrize("name", RAY)
def test_the_policy_guards_every_pod(name):
    (policy,) = documents("networkpolicy.yaml")
    (document,) = documents(name)
    assert policy["metadata"]["namespace"] == document["metadata"]["namespace"]
    assert policy["spec"]["podSelector"]["matchLabels"] == LABEL
    for pod in pods(name):
        assert LABEL.items() <= pod["metadata"]["labels"].items()
    own, operator = policy["spec"]["ingress"]
    assert own["from"] == [{"podSelector": {"matchLabels": LABEL}}]
    # One entry with both selectors: the operator's pods in its namespace, not either.
    assert [sorted(entry) for entry in operator["from"]] == [["namespaceSelector", "podSelector"]]
    assert [port["port"] for port in operator["ports"]] == [8265]


@pytest.mark.parametrize("name", RAY)
def test_run_folders_lie_on_the_shared_volume(name):
    namespace, claim = documents("storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["namespace"] == namespace["metadata"]["name"]
    for pod in pods(name):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        for container in pod["spec"]["containers"]:
            env = {entry["name"]: entry["value"] for entry in container["env"]}
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            volume = volumes[mounts[env["RAYNAS_RUNS"]]]
            assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize("name", RAY)
def test_versions_are_those_of_the_constraints(name):
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    assert cluster_of(name)["rayVersion"] == pins["ray"]
    for pod in pods(name):
        for container in pod["spec"]["containers"]:
            assert not container["image"].endswith(":latest")


def test_job_and_standing_cluster_are_the_same_cluster():
    assert cluster_of("rayjob.yaml") == cluster_of("raycluster.yaml")

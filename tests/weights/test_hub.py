"""Models of Hugging Face by name, from a server on this machine that speaks as it does."""

import hashlib
import json
import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError, ToolchainError
from edifice_tt.weights import catalog, hub

constants = pytest.importorskip("huggingface_hub.constants")
utils = pytest.importorskip("huggingface_hub.utils")
COMMIT = "c" * 40
WEIGHTS = bytes(range(256)) * 37
FOLDER = {
    "config.json": b"{}",
    "tokenizer.json": b"{ }",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "onnx/config.json": b"[]",
    "toy.gguf": WEIGHTS[::-1],
}


class Hub(BaseHTTPRequestHandler):
    """Repositories by name; `sums` replaces a file's SHA-256, `codes` are errors by name.

    `statuses` are bare errors by repository. `elsewhere`: files are behind a redirection. `breaks`
    are how many bytes of a file come, of each answer in turn, before `breaking` is called.
    """

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET(body=False)

    def do_GET(self, body=True):
        path = self.path.partition("?")[0].strip("/")
        if body:
            self.requests.append(path)
        name = "/".join(path.removeprefix("api/models/").split("/")[:2])
        files = self.repositories.get(name)
        if name in self.statuses:
            return self._answer(self.statuses[name], {})
        if files is None or name in self.codes:
            return self._answer(
                404 if files is None else 403,
                {"X-Error-Code": self.codes.get(name, "RepoNotFound")},
            )
        if path.startswith("api/models/"):
            tree = [self._entry(file, content) for file, content in files.items()]
            siblings = [{"rfilename": file} for file in files]
            what = tree if "/tree/" in path else {"id": name, "sha": COMMIT, "siblings": siblings}
            return self._answer(
                200, {"Content-Type": "application/json"}, json.dumps(what).encode()
            )
        file = path.split("/", 4)[4]
        if file not in files:
            return self._answer(404, {"X-Error-Code": "EntryNotFound"})
        if file in self.codes and body:
            return self._answer(400, {"X-Error-Code": self.codes[file]})
        sum, size = self._sum(file, files[file]), len(files[file])
        if self.elsewhere and "/there/" not in f"{path}/":
            told = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sum}"', "X-Linked-Size": size}
            return self._answer(302, {**told, "Location": f"/{name}/there/{COMMIT}/{file}"})
        told = {"X-Repo-Commit": COMMIT, "ETag": f'"{sum}"', "Accept-Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        if start:
            told["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            self.requests[-1] += f" from {start}"
        if body and self.breaks.get(file):
            stop = start + self.breaks[file].pop(0)
            self._answer(206 if start else 200, told, files[file][start:], body, stop - start)
            self.wfile.flush()
            self.close_connection = True
            return self.breaking()
        return self._answer(206 if start else 200, told, files[file][start:], body)

    def _sum(self, file, content):
        return self.sums.get(file, hashlib.sha256(content).hexdigest())

    def _entry(self, file, content):
        lfs = {"oid": self._sum(file, content), "size": len(content), "pointerSize": 9}
        return {"type": "file", "path": file, "oid": "0" * 40, "size": len(content), "lfs": lfs}

    def _answer(self, code, headers, content=b"", body=True, stop=None):
        self.send_response(code)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[:stop])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


@pytest.fixture
def site(server, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server)
    template = f"{server}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    Hub.repositories, Hub.requests = {"we/toy": FOLDER}, []
    Hub.codes, Hub.sums, Hub.statuses, Hub.elsewhere = {}, {}, {}, False
    Hub.breaks, Hub.breaking = {}, lambda self: None
    monkeypatch.setattr(time, "sleep", lambda _: None)  # before it tries again
    monkeypatch.chdir(tmp_path)
    return Hub


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_repository_comes_without_what_nobody_reads(site):
    found = files_of(hub.fetch("we/toy"))
    assert found == {n: FOLDER[n] for n in ("config.json", "tokenizer.json", "model.safetensors")}


def test_a_file_of_a_repository_comes_alone(site):
    path = hub.fetch("we/toy/toy.gguf")
    assert (path.name, path.read_bytes()) == ("toy.gguf", FOLDER["toy.gguf"])
    assert not path.with_name("config.json").exists()


def test_what_is_here_is_taken_as_it_is_and_nobody_is_asked(site):
    paths = [hub.find(name) for name in ("we/toy", "we/toy/toy.gguf")]
    site.requests.clear()
    assert [hub.find(name) for name in ("we/toy", "we/toy/toy.gguf")] == paths
    assert site.requests == []


def test_without_a_network_pull_gives_what_is_here(site, monkeypatch):
    paths = [hub.fetch(name) for name in ("we/toy", "we/toy/toy.gguf")]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert [catalog.pull(name) for name in ("we/toy", "we/toy/toy.gguf")] == paths


@pytest.fixture
def offline_later(monkeypatch):
    """As with HF_HUB_OFFLINE=1; versions before 1.0 ask for it when they open a connection."""

    @contextmanager
    def go():
        close = getattr(utils, "reset_sessions", lambda: None)
        with monkeypatch.context() as patch:
            patch.setattr(constants, "HF_HUB_OFFLINE", True)
            close()
            yield
        close()

    return go


@pytest.fixture
def offline(offline_later):
    with offline_later():
        yield


@pytest.mark.parametrize("name", ["we/toy", "we/toy/toy.gguf"])
def test_without_a_network_what_is_not_here_is_one_error(site, offline, name):
    with pytest.raises(CheckpointError, match=f"{name} is no path here, .* OfflineModeIsEnabled: "):
        et.load_pretrained(name)


def test_a_folder_that_lacks_its_weights_is_fetched(site):
    path = hub.fetch("we/toy")
    (path / "model.safetensors").unlink()
    assert (hub.find("we/toy") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_model_of_which_only_some_parts_are_here_is_fetched(site):
    parts = {f"model-{i}.safetensors": WEIGHTS * i for i in (1, 2)}
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    files = {"config.json": b"{}", "model.safetensors.index.json": index.encode(), **parts}
    site.repositories["we/big"] = files
    path = hub.fetch("we/big")
    site.requests.clear()
    assert (hub.find("we/big"), site.requests) == (path, [])
    (path / "model-2.safetensors").unlink()
    assert files_of(hub.find("we/big")) == files
    (path / "model.safetensors.index.json").unlink()
    assert files_of(hub.find("we/big")) == files


def test_without_a_network_a_part_of_a_model_is_no_model(site, offline_later):
    path = hub.fetch("we/toy")
    (path / "model.safetensors").unlink()
    with offline_later(), pytest.raises(CheckpointError, match="OfflineModeIsEnabled"):
        hub.find("we/toy")
    index = json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()
    site.repositories["we/big"] = FOLDER | {"model.safetensors.index.json": index}
    with pytest.raises(CheckpointError, match="we/big: a file of its weights is missing"):
        hub.find("we/big")
    with offline_later(), pytest.raises(CheckpointError, match="a file of its weights is missing"):
        hub.find("we/big")


def test_an_adapter_beside_a_config_is_no_folder_of_a_model(site):
    site.repositories["we/lora"] = {"config.json": b"{}", "adapter_model.safetensors": b"x"}
    with pytest.raises(CheckpointError, match=r"we/lora has no config\.json with safetensors"):
        hub.find("we/lora")


def fetched(site, **options):
    """The files that `fetch` asked the server for."""
    site.requests.clear()
    with suppress(CheckpointError):
        hub.fetch("we/toy", **options)
    return sorted(path.split("/")[4] for path in site.requests if path.count("/") == 4)


EVERY = ["config.json", "model.safetensors", "tokenizer.json"]


def test_whole_files_are_not_fetched_again_unless_forced(site):
    assert [fetched(site), fetched(site), fetched(site, force=True)] == [EVERY, [], EVERY]


def test_an_interrupted_download_goes_on_with_what_is_missing(site, monkeypatch):
    site.codes["model.safetensors"] = "Broken"
    assert fetched(site) == EVERY
    site.codes.clear()
    assert fetched(site) == ["model.safetensors"]
    assert (hub.find("we/toy") / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["we/toy", "we/toy/toy.gguf"])
def test_a_file_with_another_sum_is_refused_and_deleted(site, name):
    file = "toy.gguf" if name.endswith("gguf") else "model.safetensors"
    site.sums[file] = "0" * 64
    sum = hashlib.sha256(FOLDER[file]).hexdigest()
    with pytest.raises(CheckpointError, match=f"{name}: {file} has SHA-256 {sum}, expected 0000"):
        hub.fetch(name)
    site.requests.clear()
    with pytest.raises(CheckpointError, match="SHA-256"):
        hub.find(name)
    assert any(path.endswith(file) for path in site.requests)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("we/nothing", None, "no such repository, or one that only some may see; check the name"),
        ("we/nothing/toy.gguf", None, "no such repository"),
        ("we/toy/none.gguf", None, "the repository has no such file"),
        ("we/toy", "GatedRepo", "accept its terms at http://127.0.0.1:"),
        ("we/toy/toy.gguf", "GatedRepo", "accept its terms at http://127.0.0.1:"),
        ("we/to--y", None, "HFValidationError: "),
    ],
)
def test_what_is_not_to_be_had_is_one_line(site, name, code, words):
    site.codes.update({"we/toy": code} if code else {})
    with pytest.raises(CheckpointError) as caught:
        hub.find(name)
    start = f"{name} is no path here, and is not to be had from Hugging Face: {words}"
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
    if code == "GatedRepo":
        end = "/we/toy, then give your token: HF_TOKEN, or `hf auth login`"
        assert str(caught.value).endswith(end)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("name", ["we/toy", "we/toy/toy.gguf"])
def test_a_refusal_says_that_a_token_is_needed(site, name, status):
    site.statuses["we/toy"] = status
    with pytest.raises(CheckpointError, match=r"a token of one who may: HF_TOKEN, or `hf auth"):
        hub.find(name)


def test_a_file_behind_a_redirection_comes_with_the_sum_of_the_repository(site):
    site.elsewhere = True
    assert hub.fetch("we/toy/toy.gguf").read_bytes() == FOLDER["toy.gguf"]
    assert any("/there/" in path for path in site.requests)
    site.repositories["we/more"], site.sums["toy.gguf"] = FOLDER, "1" * 64
    with pytest.raises(CheckpointError, match="expected 1111"):
        hub.fetch("we/more/toy.gguf")


def test_a_download_that_is_cut_off_goes_on_where_it_was(site, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)  # bytes that are kept together
    site.breaks["toy.gguf"] = [1000, 2000]
    for _ in range(3):  # versions before 1.0 of the library give up each time
        with suppress(CheckpointError):
            hub.fetch("we/toy/toy.gguf")
    assert hub.find("we/toy/toy.gguf").read_bytes() == FOLDER["toy.gguf"]
    starts = [path.partition(" from ")[2] for path in site.requests if "toy.gguf" in path]
    assert starts == ["", "1000", "3000"]


def test_a_server_that_falls_silent_is_asked_again(site, monkeypatch):
    silence = threading.Event()
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    site.breaks["toy.gguf"], site.breaking = [1000], lambda self: silence.wait()
    try:
        assert hub.fetch("we/toy/toy.gguf").read_bytes() == FOLDER["toy.gguf"]
    finally:
        silence.set()


def test_a_server_that_always_cuts_off_is_one_error_and_leaves_no_model(site):
    site.breaks["toy.gguf"] = [0] * 9
    with pytest.raises(CheckpointError, match="not to be had from Hugging Face: "):
        hub.fetch("we/toy/toy.gguf")
    site.breaks.clear()
    assert hub.find("we/toy/toy.gguf").read_bytes() == FOLDER["toy.gguf"]


def test_a_cache_without_links_is_held_to_the_sum_too(site, monkeypatch):
    from huggingface_hub import file_download  # which keeps the address that it is imported with

    def copied(source, target, new_blob=False):
        os.replace(source, target)

    monkeypatch.setattr(file_download, "_create_symlink", copied)
    path = hub.fetch("we/toy/toy.gguf")
    assert not path.is_symlink()
    site.sums["toy.gguf"] = "2" * 64
    with pytest.raises(CheckpointError, match="expected 2222"):
        hub.fetch("we/toy/toy.gguf")
    assert not path.exists()


@pytest.mark.parametrize("name", ["hf:we/toy/toy.gguf", "hf:we/toy"])
def test_a_prefix_says_that_it_is_a_name(site, name):
    """Also beside a folder of the owner's name."""
    Path("we").mkdir()
    assert not hub.is_name("we/toy")
    assert hub.find(name) == hub.fetch(name)
    assert hub.find(name).exists()


@pytest.mark.parametrize("name", ["hf:", "hf:toy", "hf:a/b/c", "hf:/x/y.gguf"])
def test_a_prefix_before_no_name_says_what_is_expected(name):
    with pytest.raises(CheckpointError) as caught:
        et.load_pretrained(name)
    expected = "expected hf:OWNER/REPO, or hf:OWNER/REPO/FILE.gguf"
    assert str(caught.value) == f"{name}: {expected}"


QUANTISED = {f"x-{kind}.gguf": kind.encode() for kind in ("F16", "Q8_0", "Q4_K_M", "IQ2_M")}


def test_of_a_repository_of_gguf_files_the_stated_one_is_taken(site, capsys):
    site.repositories["we/small"] = QUANTISED | {"mmproj-Q4_K_M.gguf": b"no", "config.json": b"{}"}
    assert hub.find("we/small").name == "x-Q4_K_M.gguf"
    assert capsys.readouterr().err.endswith("we/small: taking x-Q4_K_M.gguf\n")
    assert {path.split("/", 4)[4] for path in site.requests if "resolve" in path} == {
        "x-Q4_K_M.gguf"
    }
    site.requests.clear()
    assert hub.find("we/small").name == "x-Q4_K_M.gguf"
    assert site.requests == []


def test_what_happens_to_be_here_does_not_change_the_choice(site):
    site.repositories["we/small"] = QUANTISED
    hub.find("we/small/x-Q8_0.gguf")
    assert hub.find("we/small").name == "x-Q4_K_M.gguf"


def test_without_a_network_the_choice_is_of_what_is_here(site, offline_later):
    site.repositories["we/small"] = {"x-Q8_0.gguf": b"8", "x-F16.gguf": b"16"}
    path = hub.find("we/small/x-Q8_0.gguf")
    with offline_later():
        assert hub.find("we/small") == path


def test_all_parts_of_a_split_file_come_and_the_first_is_the_model(site):
    parts = {f"x-Q4_K_M-{i:05}-of-00003.gguf": bytes([i]) for i in (1, 2, 3)}
    site.repositories["we/split"] = parts
    for name in ("we/split", "we/split/x-Q4_K_M-00002-of-00003.gguf"):
        path = hub.find(name)
        assert path.name == "x-Q4_K_M-00001-of-00003.gguf"
        assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == parts
    (path.parent / "x-Q4_K_M-00003-of-00003.gguf").unlink()
    assert {p.name: p.read_bytes() for p in hub.find("we/split").parent.iterdir()} == parts


def test_a_repository_of_gguf_files_names_them(site):
    site.repositories["we/small"] = {"a.gguf": b"GGUF", "b.gguf": b"GGUF", "config.json": b"{}"}
    with pytest.raises(CheckpointError) as caught:
        hub.find("we/small")
    assert str(caught.value) == (
        "we/small has no config.json with safetensors; name one of its GGUF files, as "
        "we/small/FILE.gguf; it has: a.gguf, b.gguf"
    )


@pytest.mark.parametrize(
    "text",
    [
        "toy",
        "./toy",
        "/we/toy",
        "~/toy",
        "../toy",
        "we/toy/deep",
        "we/toy.gguf",
        "w\te/toy",
        "here/toy",
        "here/toy/toy.gguf",
        "we/toy.safetensors",
        "we/",
        "/toy",
        "we\\toy",
    ],
)
def test_a_path_is_no_name(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert not hub.is_name(text)


@pytest.mark.parametrize(
    "text", ["we/toy", "We-2/toy.v1_0-B", "we/toy/toy.Q4_0.gguf", "we/toy/deep/toy.gguf", "_/1"]
)
def test_a_name_is_an_owner_a_repository_and_perhaps_a_file(text):
    assert hub.is_name(text)


def test_a_path_that_is_here_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("we/toy").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no installed format reads it"):
        et.load_pretrained("we/toy")
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        et.load_pretrained(Path("you/toy"))  # no text, so no name


def test_a_model_is_loaded_by_its_name_and_keeps_it(site, tiny_lm):
    et.save(tiny_lm, "toy.safetensors")
    site.repositories["we/saved"] = {"toy.safetensors": Path("toy.safetensors").read_bytes()}
    lm = et.load_pretrained("we/saved/toy.safetensors")
    assert (lm.name, lm.fingerprint) == ("we/saved/toy.safetensors", tiny_lm.fingerprint)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ToolchainError, match=r"'huggingface_hub'.*'edifice-tt\[lm\]'"):
        et.load_pretrained("we/toy")
